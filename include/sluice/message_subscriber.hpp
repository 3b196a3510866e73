// Receiving messages with an envelope.
#pragma once

#include "sluice/context.hpp"
#include "sluice/duplicates.hpp"
#include "sluice/envelope.hpp"
#include "sluice/export.hpp"
#include "sluice/interceptor.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/node.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

namespace bus {
class HandledSubscription;
}

/// One message, in place. Move-only; empty ones say why. As Sample in all that concerns memory;
/// topic() is valid until its subscriber takes again (a batch is taken at once) or ends.
class SLUICE_EXPORT Message {
 public:
  Message() = default;
  explicit operator bool() const noexcept { return static_cast<bool>(sample_); }
  [[nodiscard]] Outcome outcome() const noexcept { return sample_.outcome(); }

  /// A checked copy: the sender cannot change it any more.
  [[nodiscard]] const Envelope& envelope() const noexcept { return envelope_; }
  [[nodiscard]] const MessageInfo& info() const noexcept { return sample_.info(); }
  [[nodiscard]] std::string_view topic() const noexcept { return topic_; }
  /// Empty as well of an empty message.
  [[nodiscard]] std::span<const std::byte> payload() const noexcept {
    const std::span<const std::byte> bytes = sample_.bytes();
    return bytes.empty() ? bytes : bytes.subspan(envelope_.header_bytes);
  }
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(payload().data()), payload().size()};
  }
  [[nodiscard]] std::span<const std::byte> extension(ExtensionId id) const noexcept {
    return find_extension(sample_.bytes(), envelope_, id);
  }
  /// What a handler of this message works in, and carries on.
  [[nodiscard]] Context context() const;
  /// How often it was delivered before, by this or another member, or by an earlier sending.
  [[nodiscard]] std::uint32_t deliveries_before() const noexcept;
  /// Messages of its publisher, topic and lane that this subscription missed just before it.
  [[nodiscard]] std::uint64_t gap() const noexcept { return gap_; }
  [[nodiscard]] const Sample& sample() const noexcept { return sample_; }
  /// For attaching to a result.
  [[nodiscard]] Sample take_sample() noexcept { return std::move(sample_); }

 private:
  friend class MessageSubscriber;
  friend class bus::HandledSubscription;
  Sample sample_;
  Envelope envelope_;
  std::string_view topic_;
  std::uint64_t gap_ = 0;
};

struct MessageSubscriptionOptions {
  SubscriptionOptions subscription{};
  /// Begin with the value that each publisher of a retained topic keeps. Sets `history` to 1.
  bool retained = false;
  // What does not pass these is acknowledged and not seen.
  std::uint64_t type_hash = 0;                      ///< Of the message; 0: any.
  std::uint64_t source = 0;                         ///< Node id; 0: any.
  std::function<bool(const Message&)> predicate{};  ///< Must not throw.
  DuplicateWindowOptions duplicates{};              ///< None, unless `count` says how many.
  Interceptors interceptors{};
  Watermarks watermarks{};  ///< Of what waits, against the room there is: see capacity.
  std::uint64_t capacity = 1'024;
  /// What has expired is given out as well, and the caller acts on it; else it is acknowledged and
  /// counted.
  bool give_expired = false;
};

/// Receives what its filters match. Move-only; bound to one thread at a time, as Subscriber.
class SLUICE_EXPORT MessageSubscriber {
 public:
  static Result<MessageSubscriber> create(Node& node, std::string_view filter,
                                          MessageSubscriptionOptions options = {});
  static Result<MessageSubscriber> create(Node& node, const std::vector<std::string>& filters,
                                          MessageSubscriptionOptions options = {},
                                          WaitSet* set = nullptr);
  /// The inbox of this node, `inbox/<node>`: reliable, and nobody else's.
  static Result<MessageSubscriber> inbox(Node& node, MessageSubscriptionOptions options = {},
                                         WaitSet* set = nullptr);
  MessageSubscriber(MessageSubscriber&&) noexcept;
  MessageSubscriber& operator=(MessageSubscriber&&) noexcept;
  ~MessageSubscriber();

  /// The next message that passes all filters, or an empty one that says why, as Subscriber::take.
  /// What is no message of the bus is acknowledged and counted as malformed.
  Message take() noexcept;
  /// Fills `out` from the front; returns how many. What ends meanwhile the next call tells.
  std::size_t take(std::span<Message> out) noexcept;
  Outcome wait(Deadline deadline) noexcept;
  /// Waits and takes; an empty message says timeout, or what take() says.
  Message receive(Deadline deadline) noexcept;

  void acknowledge(Message&& message) noexcept;
  /// As Subscriber::reject. Its id leaves the duplicate window.
  void reject(Message&& message) noexcept;
  /// Acknowledges a message that was not dealt with and shall not come again by itself, such as one
  /// that became a dead letter: sent again it is no duplicate.
  void give_up(Message&& message) noexcept;

  /// `for (Message& m : subscriber.until(deadline))`: acknowledges each message when the loop comes
  /// back for the next one, and ends at the deadline or when the subscription has ended. A message
  /// that is left by `break`, `return` or an exception is not acknowledged.
  class Range;
  Range until(Deadline deadline) noexcept;

  struct Counts {
    std::uint64_t taken = 0;     ///< Given out.
    std::uint64_t filtered = 0;  ///< Type, source or predicate said no.
    std::uint64_t duplicate = 0;
    std::uint64_t expired = 0;
    std::uint64_t malformed = 0;
    std::uint64_t rejected = 0;  ///< An interceptor said no.
    std::uint64_t gaps = 0;      ///< Messages missed; see Message::gap.
  };
  [[nodiscard]] const Counts& counts() const noexcept;
  [[nodiscard]] Subscriber& stream() noexcept;

 private:
  struct Impl;
  explicit MessageSubscriber(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

class MessageSubscriber::Range {
 public:
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Message;
    using difference_type = std::ptrdiff_t;
    using pointer = Message*;
    using reference = Message&;
    explicit Iterator(Range* range) noexcept : range_(range) {}
    Message& operator*() const noexcept { return range_->message_; }
    Message* operator->() const noexcept { return &range_->message_; }
    Iterator& operator++() noexcept {
      range_->next();
      return *this;
    }
    void operator++(int) noexcept { range_->next(); }
    friend bool operator==(const Iterator& a, std::default_sentinel_t) noexcept {
      return a.range_->over();
    }

   private:
    Range* range_;
  };
  Iterator begin() noexcept {
    next();
    return Iterator{this};
  }
  static std::default_sentinel_t end() noexcept { return {}; }
  [[nodiscard]] bool over() const noexcept { return !message_; }
  /// Why the loop has ended: timeout, evicted, not_allowed, interrupted.
  [[nodiscard]] Outcome outcome() const noexcept { return message_.outcome(); }

 private:
  friend class MessageSubscriber;
  Range(MessageSubscriber& subscriber, Deadline deadline) noexcept
      : subscriber_(&subscriber), deadline_(deadline) {}
  void next() noexcept {
    if (message_) subscriber_->acknowledge(std::move(message_));
    message_ = subscriber_->receive(deadline_);
  }
  MessageSubscriber* subscriber_;
  Deadline deadline_;
  Message message_;
};

inline MessageSubscriber::Range MessageSubscriber::until(Deadline deadline) noexcept {
  return Range{*this, deadline};
}

}  // namespace sluice
