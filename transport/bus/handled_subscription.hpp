// One subscription of a dispatcher: takes, calls the handler, keeps what is to be tried again.
#pragma once

#include "sluice/dispatcher.hpp"
#include "transport/bus/handling.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::bus {

/// What a subscription needs of its dispatcher.
class Desk {
 public:
  /// As DeadLetters::put.
  virtual Result<void> bury(const Message& message, const DeadLetterRecord& why) = 0;
  /// For the program's log and for operators.
  virtual void say(LogLevel level, std::string_view topic, std::string_view sentence) noexcept = 0;

 protected:
  ~Desk() = default;
};

class HandledSubscription {
 public:
  /// `options`: with max_inflight of at least 1.
  HandledSubscription(Dispatcher::Id id, MessageSubscriber from, Dispatcher::Handler handler,
                      const HandlerOptions& options, std::uint64_t seed, Desk& desk);

  /// Deals with what is due of what is kept, then with up to `most` new messages; how often the
  /// handler was called.
  std::size_t turn(std::uint64_t now_ns, std::size_t most);
  /// From now on nothing new is taken, publishers give no more, and what waits for another member
  /// of its group goes there at once.
  void drain();
  /// It is to be destroyed when its handler has returned; what is kept stays unacknowledged.
  void remove() noexcept { removed_ = true; }

  /// When turn() has something to do for what is kept; max: not before a message comes.
  [[nodiscard]] std::uint64_t due_ns() const noexcept;
  [[nodiscard]] std::size_t kept() const noexcept { return kept_.size(); }
  [[nodiscard]] bool removed() const noexcept { return removed_; }
  /// The broker has taken away the right to it.
  [[nodiscard]] bool revoked() const noexcept { return revoked_; }
  [[nodiscard]] Dispatcher::Id id() const noexcept { return id_; }
  [[nodiscard]] const Dispatcher::Counts& counts() const noexcept { return counts_; }
  [[nodiscard]] std::uint64_t taken() const noexcept { return from_.counts().taken; }

  /// A message that is not done with.
  struct Kept {
    Message message;
    std::string topic;
    bool fresh = true;  // just taken
    Then then = Then::handle;
    std::uint64_t due_ns = 0;
    std::uint32_t failed = 0;  // calls
    std::uint32_t not_buried = 0;
    DeadLetterRecord record{};
  };

 private:
  [[nodiscard]] bool room() const noexcept { return kept_.size() < max_kept_; }
  void pause(bool paused);
  void name(Kept& item) noexcept;
  std::size_t go_on(Kept&& item, std::uint64_t now_ns);
  std::size_t take_new(std::size_t most);
  HandlerResult call(const Message& message) noexcept;
  void settle(Kept&& item, const Decision& decision);
  void bury(Kept&& item, DeadLetterReason reason);
  void keep(Kept&& item, const Decision& decision);
  void acknowledge(Kept&& item) noexcept { from_.acknowledge(std::move(item.message)); }

  Dispatcher::Id id_;
  MessageSubscriber from_;
  Dispatcher::Handler handler_;
  Desk& desk_;
  Handling handling_;
  std::size_t max_kept_;
  std::uint64_t slow_ns_;
  std::vector<Kept> kept_;  // has room for max_kept_
  Dispatcher::Counts counts_;
  bool draining_ = false;
  bool paused_ = false;
  bool removed_ = false;
  bool revoked_ = false;
};

}  // namespace sluice::bus
