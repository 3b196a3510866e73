// What the broker says on `$sys`, as it is noted in the loop and as it is published.
#pragma once

#include "daemons/sluiced/limits.hpp"

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::broker {

enum class SystemTopic : std::uint8_t { nodes, access, stats };
inline constexpr std::size_t kSystemTopics = 3;
const char* to_string(SystemTopic topic) noexcept;  ///< "$sys/nodes"…

/// One thing that happened. What is empty or 0 is left out of the text.
struct SystemEvent {
  SystemTopic topic = SystemTopic::access;
  std::string what;           ///< "online", "refused"…
  std::uint64_t time_ns = 0;  ///< CLOCK_REALTIME.
  bool has_user = false;
  uid_t uid = 0;
  std::string user;  ///< Its name.
  std::string node;
  std::uint64_t node_id = 0;
  pid_t pid = 0;
  std::string topic_name;  ///< Of the stream it is about.
  std::string filter;      ///< Of the subscription.
  std::string other;       ///< The node at the other end.
  std::string sentence;    ///< Why.
  std::string version;
  std::vector<std::string> capabilities;
  std::string last_words;
  std::uint64_t count = 0;
  std::vector<std::pair<const char*, double>> figures;  ///< Of SystemTopic::stats.
};

std::uint64_t wall_clock_ns() noexcept;

/// "2026-11-21T10:05:00.123Z".
std::string rfc3339(std::uint64_t time_ns);

/// One JSON object; texts from elsewhere are cut at kMaxTextBytes and made valid UTF-8.
std::string to_json(const SystemEvent& event);
inline constexpr std::size_t kMaxTextBytes = 1'024;

/// Lets each user cause so many events a second, and counts the others. A value; reads no clock.
class EventGate {
 public:
  explicit EventGate(std::uint64_t rate_hz) noexcept : rate_hz_(rate_hz) {}

  /// Whether one more may be told. What was left out before is `left_out`, and forgotten.
  bool pass(uid_t uid, std::uint64_t now_ns, std::uint64_t& left_out);
  /// The users of whom something was left out and not told yet; it is forgotten.
  std::map<uid_t, std::uint64_t> take_left_out();

 private:
  struct User {
    TokenBucket bucket;
    std::uint64_t left_out = 0;
  };
  std::uint64_t rate_hz_;
  std::map<uid_t, User> users_;
};

/// Where the broker tells its events. Never blocks.
class Chronicle {
 public:
  virtual ~Chronicle() = default;
  virtual void tell(SystemEvent event) = 0;
};

}  // namespace sluice::broker
