// An event loop that calls handlers: subscriptions, services, timers, in one thread.
#pragma once

#include "sluice/agent.hpp"
#include "sluice/dead_letter.hpp"
#include "sluice/export.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/node.hpp"
#include "sluice/responder.hpp"
#include "sluice/retry.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

/// What a handler says. `retry`: try again later; `reject`: no retry helps.
enum class Handled : std::uint8_t { ok, retry, reject };
struct HandlerResult {
  Handled handled = Handled::ok;
  std::string error{};
  DeadLetterReason reason = DeadLetterReason::rejected;  ///< Of Handled::reject.
  HandlerResult() = default;
  HandlerResult(Handled h, std::string why = {})
      : handled(h), error(std::move(why)) {}  // NOLINT: meant so
};

struct HandlerOptions {
  MessageSubscriptionOptions subscription{};
  /// Of failures. The message is kept, not acknowledged, meanwhile: should this process die it is
  /// not lost (reliable, group). Of best-effort subscriptions too, in this process alone.
  RetryOptions retry{};
  /// Else what fails in the end is acknowledged and counted only; so is what has expired where the
  /// mode acknowledges nothing.
  bool dead_letters = true;
  /// Messages that are being retried at a time; more are not taken meanwhile. 1: strict order,
  /// nothing is handled before what came earlier is done with.
  std::uint32_t max_inflight = 16;
  std::chrono::nanoseconds slow = std::chrono::milliseconds{100};
  /// DeliveryMode::group: a failure is rejected, so that another member gets it next, after the
  /// delay. Not in strict order, where it stays here.
  bool pass_on = true;
};

struct DispatcherOptions {
  /// Errors of single messages (once a second at most, with the number left out), slow handlers.
  /// Called in the dispatcher's thread.
  std::function<void(LogLevel, std::string_view)> log{};
  /// Publish health and take part in `$sys`; see agent.hpp.
  bool agent = true;
  AgentOptions agent_options{};
};

/// Calls each handler within the message's context and acknowledges after it. A handler that throws
/// asks for Handled::retry. Not movable; bound to one thread at a time but stop() and drain().
class SLUICE_EXPORT Dispatcher {
 public:
  using Handler = std::function<HandlerResult(const Message&)>;

  static Result<std::unique_ptr<Dispatcher>> create(Node& node, DispatcherOptions options = {});
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;
  ~Dispatcher();

  struct Id {
    std::uint32_t number = 0;
    friend bool operator==(const Id&, const Id&) = default;
  };
  Result<Id> on(const std::vector<std::string>& filters, Handler handler,
                HandlerOptions options = {});
  Result<Id> on(std::string_view filter, Handler handler, HandlerOptions options = {});
  Result<Id> on_inbox(Handler handler, HandlerOptions options = {});
  Result<Id> serve(std::string_view service, Responder::Handler handler,
                   ResponderOptions options = {});
  Id every(std::chrono::nanoseconds interval, std::function<void()> task);
  Id after(std::chrono::nanoseconds delay, std::function<void()> task);
  /// May be called by the handler itself; what it has under retry is left unacknowledged.
  void remove(Id id);

  /// Until stop() or drain() is done, or a system message says shutdown and AgentOptions::system
  /// follows it, or is not there. `refused`: the broker took a right away.
  Result<void> run();
  /// What is due, waiting for the first until the deadline; how many handler calls.
  std::size_t step(Deadline deadline);
  void stop() noexcept;  ///< Any thread, and a signal handler.
  /// The same: takes nothing new, ends when what is here is done with; final.
  void drain() noexcept;

  struct Counts {
    std::uint64_t handled = 0;  ///< Messages that went well; of services calls.
    std::uint64_t failed = 0;   ///< Calls that asked for retry or reject, or threw.
    std::uint64_t retried = 0;
    std::uint64_t dead = 0;     ///< Became dead letters.
    std::uint64_t dropped = 0;  ///< Gave up without a dead letter.
    std::uint64_t slow = 0;
    std::uint64_t passed_on = 0;
  };
  /// Of all subscriptions, and of one.
  [[nodiscard]] Counts counts() const noexcept;
  [[nodiscard]] Counts counts(Id id) const noexcept;
  [[nodiscard]] Agent* agent() noexcept;

 private:
  struct Impl;
  explicit Dispatcher(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
