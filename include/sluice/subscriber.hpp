// The reading end of a stream, and waiting for many of them.
#pragma once

#include "sluice/export.hpp"
#include "sluice/options.hpp"
#include "sluice/result.hpp"
#include "sluice/sample.hpp"
#include "sluice/stats.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

using Deadline = std::chrono::steady_clock::time_point;

class WaitSet;

/// Acknowledges a message whose sample is given away before it is dealt with: attached to a result,
/// say. Made by Subscriber::receipt; a plain value.
class SLUICE_EXPORT Receipt {
 public:
  Receipt() = default;
  /// Whether there is anything to acknowledge.
  explicit operator bool() const noexcept { return stream_id_ != 0; }

 private:
  friend class Subscriber;
  std::uint64_t stream_id_ = 0;
  std::uint64_t sequence_ = 0;
  Priority lane_ = Priority::critical;
  std::uint8_t assignment_ = 0;
};

/// One subscription: to one stream (connect), or to all streams whose topics match a filter, as
/// they come and go (Node::subscribe). Move-only; a moved-from subscriber may only be destroyed or
/// assigned to. Bound to one thread at a time; its samples may be released in any thread and may
/// outlive it. `take` makes no system call, takes no lock and allocates nothing.
class SLUICE_EXPORT Subscriber {
 public:
  /// Subscribes to the stream of the publisher that calls Publisher::accept at the other end of
  /// `socket`, a connected SOCK_SEQPACKET socket. The socket stays the caller's and is not needed
  /// afterwards. `refused`: the publisher's reason; `untrusted`: what it handed over is not a valid
  /// stream; `system`: the socket failed or the timeout passed.
  static Result<Subscriber> connect(int socket, const SubscriptionOptions& options,
                                    std::chrono::milliseconds timeout = std::chrono::milliseconds{
                                        5000});
  /// The same, as a member of `set`.
  static Result<Subscriber> connect(int socket, const SubscriptionOptions& options, WaitSet& set,
                                    std::chrono::milliseconds timeout = std::chrono::milliseconds{
                                        5000});

  Subscriber(Subscriber&&) noexcept;
  Subscriber& operator=(Subscriber&&) noexcept;
  ~Subscriber();

  /// The next message, or an empty sample that says why: empty, quota, evicted, ended, not_allowed.
  /// Several streams take turns. Made by a node, `evicted` tells once that one stream is lost, and
  /// streams that have ended are forgotten without a word.
  Sample take() noexcept;
  /// Fills `out` from the front; returns how many. What ends meanwhile the next call tells.
  std::size_t take(std::span<Sample> out) noexcept;

  /// Waits until take() has something: ok, timeout, ended, evicted. Blocked waits burn no
  /// processor time.
  Outcome wait(Deadline deadline) noexcept;
  Outcome wait_for(std::chrono::nanoseconds duration) noexcept {
    return wait(std::chrono::steady_clock::now() + duration);
  }

  /// DeliveryMode::reliable: the message is dealt with and need not be kept for this subscriber.
  /// DeliveryMode::group: nobody else gets it, and the credit is free again as soon as all that
  /// this member was given before is acknowledged too. In any order.
  void acknowledge(const Sample& sample) noexcept;
  /// The same, and releases the sample; cheaper for the publisher than one after the other.
  void acknowledge(Sample&& sample) noexcept;
  /// For acknowledging later without the sample. Empty where the sample is, and for samples of
  /// others or that were resolved. Does nothing in modes without acknowledgement.
  [[nodiscard]] Receipt receipt(const Sample& sample) const noexcept;
  void acknowledge(const Receipt& receipt) noexcept;

  /// DeliveryMode::group: this member will not deal with it; another one gets it, or the same again
  /// if there is no other, with MessageInfo::deliveries_before one more. In other modes:
  /// acknowledges.
  void reject(Sample&& sample) noexcept;
  void reject(const Receipt& receipt) noexcept;

  /// Messages that wait for this subscription or are not acknowledged, in all streams.
  [[nodiscard]] std::uint64_t backlog() const noexcept;
  /// DeliveryMode::group: tells all publishers whether to give more, and how much waits here in
  /// all; they prefer members with less. Cheap: a store for each stream.
  void tell_load(WorkerState state, std::uint32_t backlog) noexcept;

  /// The message of this stream that a reference names, in place; see Sample::reference_at. An
  /// empty sample says why: expired, mismatch (of another stream), quota, evicted, timeout.
  Sample resolve(const Reference& reference) noexcept;
  /// For subscribers that only resolve, since take() forgets streams that are over: forgets those
  /// that have ended and whose messages nobody resolved since the last call. Call it now and then.
  void forget_ended() noexcept;

  /// While it is paused its messages end no wait: for who shares a set and cannot take any now.
  void pause(bool paused);

  /// For epoll, GLib, asyncio, with SubscriptionOptions::pollable: as WaitSet's.
  [[nodiscard]] int fd() const noexcept;
  bool arm() noexcept;
  void disarm() noexcept;

  /// Of the stream (connect only; 0 and empty otherwise).
  [[nodiscard]] std::uint64_t stream_id() const noexcept;
  [[nodiscard]] const std::string& label() const noexcept;
  /// The topic that a sample of this subscription came by; empty for connect. Valid until the
  /// subscriber takes again, forgets streams that have ended, or ends.
  [[nodiscard]] std::string_view topic(const Sample& sample) const noexcept;
  /// Of the node that publishes the stream of a sample of this subscription, by the broker's word:
  /// a message can say anything of itself. 0 for connect.
  [[nodiscard]] std::uint64_t node_id(const Sample& sample) const noexcept;
  /// Streams that are attached now.
  [[nodiscard]] std::size_t stream_count() const noexcept;
  /// Samples of these that are not released yet, in whatever thread.
  [[nodiscard]] std::uint64_t held() const noexcept;
  /// Summed over all streams, also those that have ended; of the quantiles the largest.
  [[nodiscard]] SubscriptionStats stats() const noexcept;

 private:
  friend class MessageSubscriber;
  friend class Node;
  friend class WaitSet;
  struct Impl;
  explicit Subscriber(std::unique_ptr<Impl> impl) noexcept;
  static Result<Subscriber> connect(int socket, const SubscriptionOptions& options, WaitSet* set,
                                    std::chrono::milliseconds timeout);
  void close(const Receipt& receipt, bool rejected) noexcept;
  std::unique_ptr<Impl> impl_;
};

/// One thread waits for many subscribers, which join when they connect and leave when they are
/// destroyed. Bound to the same thread as they are.
class SLUICE_EXPORT WaitSet {
 public:
  static Result<WaitSet> create();
  WaitSet(WaitSet&&) noexcept;
  WaitSet& operator=(WaitSet&&) noexcept;
  ~WaitSet();

  /// Waits until one of the subscribers has a message, was evicted or has ended: ok; or timeout;
  /// or interrupted.
  Outcome wait(Deadline deadline) noexcept;
  /// Any thread, and a signal handler: ends the wait that is under way, or else the next one, with
  /// `interrupted`, and makes arm() say no once. The set must not be moved meanwhile.
  void interrupt() noexcept;

  /// For epoll, GLib, asyncio: fd() becomes readable when a subscriber may have something. Before
  /// every poll call arm(), and skip the poll when it returns false; after every poll call
  /// disarm().
  [[nodiscard]] int fd() const noexcept;
  bool arm() noexcept;
  void disarm() noexcept;

 private:
  friend class Node;
  friend class Subscriber;
  struct Impl;
  explicit WaitSet(std::shared_ptr<Impl> impl) noexcept;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice
