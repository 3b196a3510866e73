#include "tools/sluice/bus_options.hpp"

#include "sluice/codec.hpp"
#include "sluice/correlation.hpp"
#include "sluice/topic.hpp"
#include "tools/sluice/session.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/units.hpp"

#include <CLI/CLI.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace sluice::tools {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

Error file_error(const std::string& path, int error) {
  return {Errc::system, error, clean(path) + ": " + std::strerror(error)};
}

}  // namespace

int exit_code_of(StatusCode code) noexcept {
  return code == StatusCode::ok ? 0 : kStatusBase + static_cast<int>(code);
}

int failed_with(const std::string& verb, const Status& status) {
  std::string text = sluice::to_string(status.code);
  if (!status.message.empty()) text += ": " + clean(status.message);
  (void)failed(verb, text);
  return exit_code_of(status.code);
}

CLI::Option* add_duration(CLI::App& verb, const std::string& names, Duration& target,
                          const std::string& description) {
  const auto take = [&target, names](const std::string& text) {
    const auto parsed = parse_duration(text);
    if (!parsed) {
      throw CLI::ValidationError(names, "'" + clean(text) +
                                            "' is no duration: a number of seconds, or one with "
                                            "us, ms, s, m, h or d behind it");
    }
    target = *parsed;
  };
  return verb.add_option_function<std::string>(names, take, description)->type_name("DURATION");
}

Result<std::string> read_file(const std::string& path) {
  const bool standard = path == "-";
  const int fd = standard ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return file_error(path, errno);
  std::string all;
  int error = 0;
  std::array<char, 65'536> piece{};
  while (all.size() <= kMaxPayload) {
    const ssize_t n = ::read(fd, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) error = errno;
    if (n <= 0) break;
    all.append(piece.data(), static_cast<std::size_t>(n));
  }
  if (!standard) ::close(fd);
  if (error != 0) return file_error(standard ? "standard input" : path, error);
  if (all.size() > kMaxPayload) {
    return Error{Errc::exhausted, 0,
                 clean(path) + ": a message has at most " + bytes_text(kMaxPayload)};
  }
  return all;
}

Result<std::string> read_payload(const Payload& payload) {
  if (payload.has_file) return read_file(payload.file);
  return payload.text;
}

Codec codec_of(const std::string& payload, bool json) {
  if (json) return Codec::json;
  return is_text(payload) ? Codec::text : Codec::bytes;
}

void add_sender(CLI::App& verb, SenderOptions& options) {
  verb.add_option("--correlation", options.correlation,
                  "Belongs to this (default: $SLUICE_CORRELATION, else a new one)")
      ->type_name("ID");
  verb.add_option("--traceparent", options.traceparent,
                  "Continue this W3C trace (default: $TRACEPARENT, else a new one)")
      ->type_name("TEXT");
}

Result<Context> sender_context(const SenderOptions& options) {
  Context context;
  const bool told = !options.correlation.empty();
  const std::string id = told ? options.correlation : environment("SLUICE_CORRELATION");
  if (const auto parsed = parse_correlation_id(id)) {
    context.correlation = *parsed;
  } else if (told) {
    return Error{Errc::invalid_argument, 0, "'" + clean(id) + "' is no correlation id"};
  }
  const bool traced = !options.traceparent.empty();
  const std::string parent = traced ? options.traceparent : environment("TRACEPARENT");
  if (const auto parsed = parse_traceparent(parent)) {
    context.trace = *parsed;
    if (const auto state = TraceState::parse(environment("TRACESTATE")); !traced && state) {
      context.tracestate = state->print();
    }
  } else if (traced) {
    return Error{Errc::invalid_argument, 0, "'" + clean(parent) + "' is no traceparent"};
  }
  return context;
}

Result<std::uint64_t> find_node(Node& node, const std::string& name) {
  if (const auto id = parse_hex16(name)) return *id;
  const auto monitor = node.monitor();
  if (!monitor) return monitor.error();
  std::optional<std::uint64_t> found;
  for (const NodeInfo& info : monitor->snapshot().nodes) {
    if (info.name != name) continue;
    if (found) {
      return Error{Errc::invalid_argument, 0,
                   "there are several nodes '" + clean(name) + "'; give the id of one"};
    }
    found = info.id;
  }
  if (found) return *found;
  return Error{Errc::invalid_argument, 0,
               "there is no node '" + clean(name) + "'; `sluice ls --nodes` shows those there are"};
}

Deadline after(Duration duration) noexcept { return std::chrono::steady_clock::now() + duration; }

}  // namespace sluice::tools
