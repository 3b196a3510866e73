// How a request ended.
#pragma once

#include "sluice/export.hpp"

#include <cstdint>
#include <string>
#include <utility>

namespace sluice {

/// The codes of gRPC, with their numbers and meanings.
enum class StatusCode : std::uint16_t {
  ok = 0,
  cancelled = 1,
  unknown = 2,
  invalid_argument = 3,
  deadline_exceeded = 4,
  not_found = 5,
  already_exists = 6,
  permission_denied = 7,
  resource_exhausted = 8,
  failed_precondition = 9,
  aborted = 10,
  out_of_range = 11,
  unimplemented = 12,
  internal = 13,
  unavailable = 14,  ///< Nobody serves this, or who served it died; said at once.
  data_loss = 15,
  unauthenticated = 16,
};
SLUICE_EXPORT const char* to_string(StatusCode code) noexcept;
/// Whether the same request may do better a moment later: unavailable, resource_exhausted, aborted.
SLUICE_EXPORT bool retryable(StatusCode code) noexcept;

/// Details travel as the reply's payload.
struct Status {
  StatusCode code = StatusCode::ok;
  std::string message;  ///< A sentence for people; at most 1,024 bytes travel.

  Status() = default;
  Status(StatusCode c, std::string m = {}) : code(c), message(std::move(m)) {}  // NOLINT: meant so
  [[nodiscard]] bool ok() const noexcept { return code == StatusCode::ok; }
};

}  // namespace sluice
