// What a message says, for people and scripts: the types that Sluice knows by their name, all
// others as text or bytes.
#pragma once

#include "sluice/sample.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tools {

struct Decoded {
  std::vector<std::string> lines;  ///< Without control characters.
  nlohmann::json json;             ///< An object.
};

/// The payload of a message of that type. What is not what its type says becomes a sentence, and
/// bytes; of those at most `max_bytes` are shown.
Decoded decode(const Sample& sample, std::string_view type_name, std::size_t max_bytes);

/// The same for bytes of no known type: text if all of it can be seen, else a dump in hexadecimal.
Decoded decode_bytes(std::span<const std::byte> bytes, std::size_t max_bytes);

/// What travels beside the payload. Times as ages at `now_ns`.
nlohmann::json info_json(const Sample& sample, std::uint64_t now_ns);
/// In one line: "seq 12, 0.3ms old, captured 5.2ms ago, 232 B, 0193a5d2-…".
std::string info_text(const Sample& sample, std::uint64_t now_ns);

}  // namespace sluice::tools
