// The writing end of a stream.
#pragma once

#include "sluice/export.hpp"
#include "sluice/foreign.hpp"
#include "sluice/loan.hpp"
#include "sluice/options.hpp"
#include "sluice/result.hpp"
#include "sluice/stats.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace sluice {

/// Owns one stream: the memory that its messages travel in. Made by Node::advertise, which makes it
/// known to all subscribers of its topic, or by create, to be shared over a socket. Move-only; a
/// moved-from publisher may only be destroyed or assigned to. Thread-compatible: one thread at a
/// time. `loan` may block where OnFull::wait says so, `accept` until its timeout, the others never;
/// only `create` and `accept` allocate.
class SLUICE_EXPORT Publisher {
 public:
  /// Creates the stream. The error names the option that cannot be met.
  static Result<Publisher> create(const StreamOptions& options);

  Publisher(Publisher&&) noexcept;
  Publisher& operator=(Publisher&&) noexcept;
  /// Ends the stream: subscribers drain what was published and then see Outcome::ended.
  ~Publisher();

  /// A slot to write a message of `size_bytes` into. An empty loan says why: no_slot, no_loan,
  /// full, too_large, no_memory, ended, not_allowed.
  Loan loan(std::uint64_t size_bytes, Priority priority = Priority::critical) noexcept;

  /// Publishes the loan to every subscriber at once and empties it. Wait-free, one system call for
  /// each subscriber that sleeps. mismatch: a loan of another publisher; empty: an empty loan.
  Outcome publish(Loan&& loan) noexcept;
  /// The same, and says by what name the message can be referred to.
  Outcome publish(Loan&& loan, Reference& published) noexcept;
  /// Publishes all of them in order; stops at the first that cannot be and returns its outcome.
  Outcome publish(std::span<Loan> loans) noexcept;

  /// Lets go of what every subscriber has passed, and of the samples attached to it. `loan` does
  /// this too; call it when nothing is published for a while.
  void collect() noexcept;

  /// Answers the one Subscriber::connect that waits at the other end of `socket`, a connected
  /// SOCK_SEQPACKET socket, which stays the caller's and is not needed afterwards. `refused`: the
  /// subscription does not fit (the subscriber is told the same sentence); `untrusted`: what
  /// arrived is not a valid request.
  Result<void> accept(int socket,
                      std::chrono::milliseconds timeout = std::chrono::milliseconds{5000});

  /// Forgets subscriptions whose process has ended; returns how many.
  std::size_t reap() noexcept;
  /// Subscriptions that are attached now: what is published from then on reaches them, even if this
  /// process dies at once.
  [[nodiscard]] std::size_t subscriber_count() const noexcept;
  /// Of these, reliable ones and members of groups.
  [[nodiscard]] std::size_t acknowledging_count() const noexcept;
  /// Subscriptions that match by the broker's word, attached or about to be; recorders included. Of
  /// a publisher without a node: subscriber_count().
  [[nodiscard]] std::size_t matching_count() const noexcept;
  /// Whether matching_count() is the word of a broker that is there. While it is away nobody comes
  /// beyond those that are attached. Of a publisher without a node: true.
  [[nodiscard]] bool matching_is_known() const noexcept;
  /// Members of groups that take what is new: attached, not draining, and no recorders. As seen
  /// when something was published or collect() was called last.
  [[nodiscard]] std::size_t taker_count() const noexcept;
  /// Entries of a lane that some reliable subscription or group has not acknowledged: the largest
  /// such backlog, at most the lane's depth. Reads every reader's page.
  [[nodiscard]] std::uint32_t backlog(Priority priority) noexcept;

  /// How far a message of this stream has come. Reads every reader's page.
  [[nodiscard]] Reach reached(const Reference& message) noexcept;
  /// Whether a member of a group, recorders apart, has been given it and has not settled it yet.
  [[nodiscard]] bool is_assigned(const Reference& message) noexcept;
  /// Whether the group of this name has acknowledged it: ok; empty: not yet; evicted: given up, or
  /// gone before it was; no_subscriber: there is no such group, and no place is kept for one.
  [[nodiscard]] Outcome handled_by(const Reference& message, const GroupName& group) noexcept;
  /// Waits until all of the message's subscriptions are at `level`: ok; timeout; evicted, when one
  /// of them was, left without, or gave it up; no_subscriber, when it was for none; mismatch, of no
  /// message of this stream. Who acknowledges out of order has handled what stands without a gap. Of
  /// a message that is retired: ok, unless since then one has gone that had not handled everything.
  Outcome wait_reached(const Reference& message, ReachLevel level,
                       std::chrono::steady_clock::time_point deadline) noexcept;
  /// Of a published message that somebody still may take: its payload, writable; null otherwise.
  /// For words that are atomic by agreement with the readers, such as a flag that cancels; all
  /// other bytes must stay as they are.
  [[nodiscard]] std::byte* amend(const Reference& message) noexcept;

  /// Adds slots of another size while the stream runs; subscribers map them when they first meet
  /// one. Needs room in StreamOptions::max_slots; the error names what is in the way. Allocates.
  Result<void> add_pool(const PoolOptions& pool);

  /// Makes memory of another system known to the stream; returns the number for lend(). One of the
  /// stream's kMaxPools, for good, also where the broker refuses it. Readers map it read-only when
  /// they first meet it; the broker's configuration says who may do this (`lend`), since nothing
  /// keeps its owner from changing or shortening it under their eyes. Allocates.
  Result<std::uint32_t> add_foreign_pool(ForeignMemory memory);
  /// A loan whose payload lies there; set headers and user header, and publish it. The stream needs
  /// a pool of its own with small slots, of 64 bytes and what the user header takes. An empty loan's
  /// outcome as loan()'s; mismatch: the payload does not lie in that memory, or that is revoked.
  /// Then, and whenever the loan is not published, `released` is called nevertheless but for
  /// an empty loan, whose payload stays the caller's.
  Loan lend(const ForeignPayload& payload, Priority priority = Priority::critical) noexcept;
  /// The memory's system is gone, or takes it back now: readers take nothing from it any more, and
  /// Sample::intact says no of what they hold. `released` is called for what is lent, at once.
  void revoke_pool(std::uint32_t pool) noexcept;

  /// Tells monitors where the data comes from. Cheap: some stores into shared memory.
  void describe(const SourceInfo& source) noexcept;

  /// Ends the stream now; loans are refused from then on.
  void end() noexcept;

  [[nodiscard]] std::uint64_t stream_id() const noexcept;
  /// Empty for a stream that no node advertises.
  [[nodiscard]] const std::string& topic() const noexcept;
  /// By its options or the broker's configuration; see StreamOptions::sensitive.
  [[nodiscard]] bool sensitive() const noexcept;
  /// The broker's configuration has the topic recorded before it counts as published.
  [[nodiscard]] bool durable() const noexcept;
  /// What the broker's configuration lets a stream of this user publish; 0: no limit. It is kept by
  /// MessagePublisher, not here.
  [[nodiscard]] std::uint64_t messages_per_second() const noexcept;
  [[nodiscard]] StreamStats stats() const noexcept;

 private:
  friend class Node;
  struct Impl;
  explicit Publisher(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
