// A process's connection to the broker, and what it makes there.
#pragma once

#include "sluice/export.hpp"
#include "sluice/monitor.hpp"
#include "sluice/options.hpp"
#include "sluice/publisher.hpp"
#include "sluice/result.hpp"
#include "sluice/subscriber.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

enum class LogLevel : std::uint8_t { debug, info, warning, error };

struct NodeOptions {
  /// Shown to people and matched by the broker's policy; default: the program's.
  std::string name{};
  /// Of the broker; default: SLUICE_SOCKET, else the system's or the user's.
  std::string socket{};
  /// false: nothing happens but in dispatch(), which the program calls when fd() is readable.
  bool background_thread = true;
  /// How long create, advertise, subscribe and monitor wait for the broker; 0: fail at once when it
  /// is not there. A broker that goes away later is waited for in any case, without an end.
  std::chrono::milliseconds connect_timeout{10'000};
  /// What it can do, for people and for `$sys/nodes`: short words; at most 32 of at most 63 bytes.
  std::vector<std::string> capabilities{};
  std::string version{};  ///< Of the program; at most 63 bytes.
  /// What the broker says for this node when its process dies without good-bye; at most 1,024 bytes
  /// of UTF-8.
  std::string last_words{};
  /// What the node has to say, called in the thread that does its work; it must not block.
  std::function<void(LogLevel, std::string_view)> log{};
};

/// Makes publishers and subscribers that find each other by topic. Frames and messages never pass
/// the broker: what is attached goes on while the broker is down, and the node tells a new broker
/// what it has. Move-only; a moved-from node may only be destroyed or assigned to. Thread-safe.
/// Publishers and subscribers may outlive their node; the last of them ends the connection.
class SLUICE_EXPORT Node {
 public:
  /// Connects. `system`: no broker within connect_timeout; `refused`: it does not let us in.
  static Result<Node> create(NodeOptions options = {});

  Node(Node&&) noexcept;
  Node& operator=(Node&&) noexcept;
  ~Node();

  /// Creates a stream and makes it known under `topic`. Many publishers may share a topic.
  /// `refused`: the policy or a limit of the broker, with its sentence.
  Result<Publisher> advertise(std::string_view topic, const StreamOptions& options);

  /// Subscribes to every stream, present and future, whose topic `filter` matches (`+` one level,
  /// `#` the rest; see topic.hpp). Publishers come and go without the subscriber's doing.
  Result<Subscriber> subscribe(std::string_view filter, const SubscriptionOptions& options = {});
  /// The same, as a member of `set`.
  Result<Subscriber> subscribe(std::string_view filter, const SubscriptionOptions& options,
                               WaitSet& set);
  /// One subscription to what any of the filters matches: 1 to 64 of them. A stream that several
  /// match is taken from once. Without a set it has one of its own.
  Result<Subscriber> subscribe(const std::vector<std::string>& filters,
                               const SubscriptionOptions& options = {}, WaitSet* set = nullptr);

  /// A read-only view of nodes, streams and subscriptions, with their counters. Disturbs nobody.
  Result<Monitor> monitor(std::string_view filter = "#");

  [[nodiscard]] const std::string& name() const noexcept;
  [[nodiscard]] const std::string& version() const noexcept;
  [[nodiscard]] std::uint64_t id() const noexcept;
  /// Messages that were published by it, on streams that have ended as well.
  [[nodiscard]] std::uint64_t published() const;
  /// Whether the broker is connected now.
  [[nodiscard]] bool connected() const noexcept;

  /// Readable when dispatch() has something to do.
  [[nodiscard]] int fd() const noexcept;
  /// Does what is due, without blocking. Only where background_thread is false.
  void dispatch();

 private:
  friend class MessagePublisher;
  explicit Node(std::shared_ptr<class NodeImpl> impl) noexcept;
  Result<Publisher> advertise(std::string_view topic, const StreamOptions& options, bool wait);
  std::shared_ptr<class NodeImpl> impl_;
};

}  // namespace sluice
