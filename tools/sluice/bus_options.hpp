// What the verbs of the bus share: options, payloads, the context of what is sent, exit codes.
#pragma once

#include "sluice/context.hpp"
#include "sluice/envelope.hpp"
#include "sluice/node.hpp"
#include "sluice/status.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace sluice::tools {

using Duration = std::chrono::nanoseconds;

inline constexpr int kNobody = 3;       ///< Exit code: nobody is there to take it.
inline constexpr int kStatusBase = 10;  ///< Exit code of a status that is not ok: plus its number.
int exit_code_of(StatusCode code) noexcept;
/// "unavailable: nobody serves 'x'" on standard error; the exit code.
int failed_with(const std::string& verb, const Status& status);

/// An option that takes a duration; see parse_duration.
CLI::Option* add_duration(CLI::App& verb, const std::string& names, Duration& target,
                          const std::string& description);

/// MESSAGE or --file.
struct Payload {
  std::string text;
  std::string file;  ///< "-": standard input.
  bool has_text = false;
  bool has_file = false;
};
inline constexpr std::size_t kMaxPayload = 64u << 20;
/// Everything of a file or of standard input, `kMaxPayload` at most.
Result<std::string> read_file(const std::string& path);
Result<std::string> read_payload(const Payload& payload);
/// JSON if it must be; text if it is UTF-8; else bytes.
Codec codec_of(const std::string& payload, bool json);

/// What a message is sent in: options, else the environment (SLUICE_CORRELATION, TRACEPARENT,
/// TRACESTATE) as `sluice serve` sets it for its command.
struct SenderOptions {
  std::string correlation;
  std::string traceparent;
};
void add_sender(CLI::App& verb, SenderOptions& options);
Result<Context> sender_context(const SenderOptions& options);

/// The id of the node with this name, or of 16 hexadecimal digits.
Result<std::uint64_t> find_node(Node& node, const std::string& name);

/// From now.
Deadline after(Duration duration) noexcept;

}  // namespace sluice::tools
