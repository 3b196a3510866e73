// A node's part in the system: health, announcement, system messages, breakers.
#pragma once

#include "sluice/breaker.hpp"
#include "sluice/export.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/node.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace sluice {

/// What `$sys/control/<node>` and `$sys/control/all` can say; JSON: {"do": "shutdown", …}.
enum class SystemMessage : std::uint8_t {
  shutdown = 1,       ///< End in order. "reason".
  health_check = 2,   ///< Publish a health record now.
  configuration = 3,  ///< "values": an object, for the program.
  breaker = 4,        ///< "service", "state": a breaker's state to be forced, or "closed".
  ready = 5,          ///< The system is complete.
};

/// How a node is; HealthRecord is published as JSON on `health/<node>/bus`.
struct HealthFigures {
  std::uint64_t received = 0;
  std::uint64_t handled = 0;
  std::uint64_t failed = 0;
  std::uint64_t dead = 0;
  std::uint64_t published = 0;  ///< 0: by the node's publishers (Node::published).
  std::uint64_t slow = 0;
};

struct AgentOptions {
  std::chrono::nanoseconds health_interval = std::chrono::seconds{10};
  /// Is added to each health record.
  std::function<HealthFigures()> figures{};
  /// A system message has come: `json` is the whole of it, checked to be an object. Returns whether
  /// it was followed; an error report is published where not.
  std::function<bool(SystemMessage, std::string_view json)> system{};
};

/// Publishes a health record every interval and when asked, retained on `health/<node>/bus`; the
/// state of breakers, retained on `$breaker/<service>/<node>`; errors on `$sys/errors/<node>`.
/// Follows system messages. Move- only; one thread at a time, which calls step() at least every
/// interval (Dispatcher does).
class SLUICE_EXPORT Agent {
 public:
  static Result<Agent> create(Node& node, AgentOptions options = {}, WaitSet* set = nullptr);
  Agent(Agent&&) noexcept;
  Agent& operator=(Agent&&) noexcept;
  ~Agent();

  /// Does what is due; when it is due next.
  Deadline step();
  /// What is wrong, until the next call; empty: all is well.
  void set_problem(std::string_view problem);
  /// Reports an error for operators; at most 10 a second, the rest is counted.
  void report_error(std::string_view topic, std::string_view sentence);
  /// Publishes its state whenever it changes, and lets `sluice breaker` force it. Must outlive the
  /// agent or be removed.
  void watch_breaker(std::string_view service, CircuitBreaker& breaker);
  void forget_breaker(const CircuitBreaker& breaker);

 private:
  struct Impl;
  explicit Agent(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
