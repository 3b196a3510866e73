// A circuit breaker: stops calling what fails, and tries now and then whether it is well again.
//
//            too many calls failed or were slow                open time is over
//   closed ----------------------------------------> open -------------------------> half open
//     ^                                               ^                               |  |
//     |                                               +------- a probe failed --------+  |
//     +--------------------------- all probes went well ---------------------------------+
//
// Names and meanings as in resilience4j's CircuitBreaker.
#pragma once

#include "sluice/export.hpp"

#include <cstdint>
#include <memory>

namespace sluice {

struct BreakerOptions {
  std::uint64_t window_ns = 10'000'000'000;  ///< Calls that ended within it count.
  std::uint32_t minimum_calls = 20;          ///< Fewer in the window decide nothing.
  double failure_rate = 0.5;                 ///< Opens when at least this share failed.
  double slow_rate = 1.0;                    ///< Opens when at least this share was slow.
  std::uint64_t slow_ns = 5'000'000'000;
  std::uint64_t open_ns = 5'000'000'000;  ///< Then half open.
  std::uint32_t probes = 3;               ///< Calls that half open lets through.
};

enum class BreakerState : std::uint8_t {
  closed = 0,
  open = 1,
  half_open = 2,
  forced_open = 3,    ///< By an operator: nothing passes until told otherwise.
  forced_closed = 4,  ///< By an operator: everything passes; calls are counted all the same.
};
SLUICE_EXPORT const char* to_string(BreakerState state) noexcept;

/// Thread-compatible; the caller brings the time. All memory is allocated when it is made.
class SLUICE_EXPORT CircuitBreaker {
 public:
  explicit CircuitBreaker(BreakerOptions options = {});
  CircuitBreaker(CircuitBreaker&&) noexcept;
  CircuitBreaker& operator=(CircuitBreaker&&) noexcept;
  ~CircuitBreaker();

  /// Whether a call may be made now. Every call that was let through must be followed by one of
  /// ended() and abandoned(), with the generation that was told; what belongs to an earlier state
  /// is ignored.
  struct Permit {
    bool allowed = false;
    std::uint32_t generation = 0;
  };
  Permit allow(std::uint64_t now_ns) noexcept;
  void ended(Permit permit, bool ok, std::uint64_t duration_ns, std::uint64_t now_ns) noexcept;
  /// The call says nothing about the other side: it was cancelled, or not made.
  void abandoned(Permit permit) noexcept;

  /// forced_open, forced_closed; closed: back to the rules, with nothing counted. Others: nothing.
  void force(BreakerState state, std::uint64_t now_ns) noexcept;

  [[nodiscard]] BreakerState state(std::uint64_t now_ns) const noexcept;
  struct Figures {
    std::uint32_t calls = 0;  ///< In the window.
    std::uint32_t failed = 0;
    std::uint32_t slow = 0;
    std::uint64_t refused = 0;     ///< Since the beginning.
    std::uint64_t opened = 0;      ///< Times, since the beginning.
    std::uint64_t changed_ns = 0;  ///< When the state changed last.
  };
  [[nodiscard]] Figures figures(std::uint64_t now_ns) const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
