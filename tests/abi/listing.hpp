// Text for people and for diff: what lies where, in sections with a name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <span>
#include <string>
#include <vector>

namespace sluice::abi {

/// `name, bytes`, then lines of 16 bytes with their offset; a run of lines of zeros is one line
/// `*`.
void list_bytes(std::ostream& out, const std::string& name, std::span<const std::byte> bytes);

template <typename Value>
void list_value(std::ostream& out, const std::string& name, const Value& value) {
  list_bytes(out, name, {reinterpret_cast<const std::byte*>(&value), sizeof value});
}

struct Part {
  const char* name;
  std::size_t offset;
  std::size_t bytes;
};
/// `name, bytes`, then a line for each part.
void list_parts(std::ostream& out, const char* name, std::size_t bytes,
                const std::vector<Part>& parts);

// What the files consist of.
void list_layout(std::ostream& out);    // layout.cpp
void list_streams(std::ostream& out);   // streams.cpp
void list_messages(std::ostream& out);  // messages.cpp

}  // namespace sluice::abi
