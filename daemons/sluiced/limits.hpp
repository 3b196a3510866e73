// What a user may take of the machine, and who has taken how much.
//
// A broker that hands out memory to whoever asks can be emptied by one program with a mistake in
// it. So everything that lasts is charged to the user who asked for it, when it is created, and
// given back when it goes; a charge that would pass a limit is refused and changes nothing.
#pragma once

#include "sluice/options.hpp"
#include "sluice/result.hpp"

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace sluice::broker {

/// Of the machine, in bytes.
std::uint64_t physical_memory() noexcept;

inline constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};

/// Limits of one user, or of all together. 0 means none at all, not "no limit".
struct Limits {
  std::uint64_t bytes = physical_memory() / 2;  ///< That streams may grow to, used or not.
  std::uint64_t streams = 2'000;
  std::uint64_t subscriptions = 4'000;
  std::uint64_t connections = 1'000;
  std::uint64_t requests_per_second =
      10'000;  ///< Messages to the broker; a second's worth at once.
  // Of each stream; not of all users together.
  std::uint64_t message_bytes = kMaxSlotBytes;   ///< Largest payload.
  std::uint64_t messages_per_second = kNoLimit;  ///< The publisher's library keeps to it.
};

inline constexpr std::uint64_t kMaxRequestsPerSecond = 1'000'000;

/// The limits by their names in the configuration.
struct LimitField {
  const char* name;
  std::uint64_t Limits::*value;
};
inline constexpr std::array<LimitField, 5> kLimitFields{{
    {"bytes", &Limits::bytes},
    {"streams", &Limits::streams},
    {"subscriptions", &Limits::subscriptions},
    {"connections", &Limits::connections},
    {"requests_per_second", &Limits::requests_per_second},
}};

/// Those of each stream, likewise.
inline constexpr std::array<LimitField, 2> kStreamLimitFields{{
    {"message_bytes", &Limits::message_bytes},
    {"messages_per_second", &Limits::messages_per_second},
}};

/// What is charged and given back. In the order of kLimitFields.
enum class Resource : std::uint8_t { bytes, streams, subscriptions, connections };
inline constexpr std::size_t kResources = 4;

struct UserLimits {
  std::string name;  ///< As the configuration calls the user.
  Limits limits;
};

/// All limits in force.
struct LimitTable {
  Limits each_user;
  /// More than one user's, so that none can shut out the others.
  Limits in_all{physical_memory() / 4 * 3, 8'000, 16'000, 4'000, 40'000};
  std::map<uid_t, UserLimits> users;  ///< In place of each_user.
};

/// Lets `rate` requests a second through, and up to a second's worth at once after a pause. Reads
/// no clock: times are nanoseconds of any clock that does not go back. A value.
class TokenBucket {
 public:
  /// Whether a request at `now_ns` is within `rate_hz` (at most kMaxRequestsPerSecond).
  [[nodiscard]] bool ready(std::uint64_t now_ns, std::uint64_t rate_hz) const noexcept;
  /// Lets it through, if it is.
  bool take(std::uint64_t now_ns, std::uint64_t rate_hz) noexcept;

 private:
  /// Until then all requests so far would have taken, at an even pace. With it alone, and no count
  /// of tokens, nothing is lost to rounding, and the rate may change at any time.
  std::uint64_t busy_until_ns_ = 0;
};

/// Who has taken how much. Thread-compatible; allocates when it meets a user for the first time,
/// and never forgets one, lest a user get a fresh start by leaving.
class Ledger {
 public:
  explicit Ledger(LimitTable limits) : limits_(std::move(limits)) {}

  /// Takes all of `amount`, or nothing: `exhausted`, with the limit, the figures, and the key in
  /// the configuration that raises it.
  Result<void> charge(uid_t uid, Resource resource, std::uint64_t amount);

  /// What was charged before. More than that is a bug of the caller.
  void give_back(uid_t uid, Resource resource, std::uint64_t amount) noexcept;

  /// One message to the broker at `now_ns`: `exhausted` when they come too fast. A refused one
  /// costs nothing, so the flood of one user does not use up what others may send.
  Result<void> request(uid_t uid, std::uint64_t now_ns);

  /// Whether this user may have a stream with such a payload: `exhausted` with the limit and its
  /// key.
  [[nodiscard]] Result<void> check_stream(uid_t uid, std::uint64_t payload_bytes) const;
  /// Of each stream of this user; kNoLimit: as many as it likes.
  [[nodiscard]] std::uint64_t messages_per_second(uid_t uid) const noexcept {
    return limits_of(uid).messages_per_second;
  }

  /// From now on. Whoever has more already keeps it, and gets no more.
  void set_limits(LimitTable limits) { limits_ = std::move(limits); }

  [[nodiscard]] const LimitTable& limits() const noexcept { return limits_; }
  [[nodiscard]] std::uint64_t used(uid_t uid, Resource resource) const noexcept;
  [[nodiscard]] std::uint64_t used_in_all(Resource resource) const noexcept;

 private:
  struct Account {
    std::array<std::uint64_t, kResources> used{};
    TokenBucket requests;
  };

  [[nodiscard]] const Limits& limits_of(uid_t uid) const noexcept;
  /// "user 'camera' (uid 1001)".
  [[nodiscard]] std::string name_of(uid_t uid) const;
  /// The key, or keys, that raise a limit of this user.
  [[nodiscard]] std::string key_of(uid_t uid, const char* limit) const;

  LimitTable limits_;
  std::map<uid_t, Account> accounts_;
  Account all_;
};

}  // namespace sluice::broker
