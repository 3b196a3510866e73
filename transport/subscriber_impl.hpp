// What stands behind a sluice::Subscriber and a sluice::WaitSet.
//
// A subscriber reads any number of streams, each with a reader of its own, and always belongs to a
// wait set: its own, or one that it shares. All of this is the subscriber's thread's; streams come
// in through the subscription's inbox.
#pragma once

#include "shm/wait_set.hpp"
#include "sluice/subscriber.hpp"
#include "transport/node_impl.hpp"
#include "transport/subscription.hpp"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

namespace sluice {

struct WaitSet::Impl {
  explicit Impl(shm::WaitSet waiters) : set(std::move(waiters)) {}
  static Result<std::shared_ptr<Impl>> create();

  Outcome wait(std::uint64_t deadline_ns) noexcept;
  bool arm() noexcept;
  /// Takes in what the subscribers' inboxes hold; whether there was anything.
  bool take_in() noexcept;
  [[nodiscard]] shm::Reader* only_reader() const noexcept;
  /// A subscriber has something to say beside messages: it was revoked.
  [[nodiscard]] bool settled() const noexcept;
  /// What came in could not be taken in for want of memory.
  [[nodiscard]] bool short_of_memory() const noexcept;

  shm::WaitSet set;
  std::vector<Subscriber::Impl*> members;  // those of nodes
  // Nobody but its one subscriber knows this set, so nobody interrupts it from outside.
  bool own = false;
  std::atomic<bool> interrupted{false};  // by WaitSet::interrupt(), and no wait has told it yet
};

struct Subscriber::Impl {
  explicit Impl(std::shared_ptr<WaitSet::Impl> waits_in) : set(std::move(waits_in)) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  /// Made by a node: becomes a member of its set.
  void join(std::shared_ptr<NodeImpl> with, std::shared_ptr<transport::Subscription> as);
  void add(transport::Attachment&& attachment);

  Sample take() noexcept;
  /// Whether take() would say `empty`, where that is quickly found out: most subscriptions have one
  /// stream, and who polls mostly finds nothing.
  [[nodiscard]] bool nothing() const noexcept;
  Outcome wait(std::uint64_t deadline_ns) noexcept;
  bool take_in() noexcept;
  bool grow(transport::GrownPool& pool) noexcept;
  bool drop(std::size_t index) noexcept;
  void pause(bool paused);
  [[nodiscard]] const transport::Attachment* origin(const Sample& sample,
                                                    const shm::Reader* reader) const noexcept;
  [[nodiscard]] SubscriptionStats stats() const noexcept;

  std::shared_ptr<WaitSet::Impl> set;
  std::vector<transport::Attachment> streams;
  std::size_t turn = 0;     // whose turn it is
  SubscriptionStats ended;  // of streams that are no more
  bool revoked = false;
  // Some of a batch are taken: what their streams say of themselves, the topic, must stay.
  bool keeps_streams = false;
  bool paused = false;                      // its readers are not in the set
  WorkerState worker = WorkerState::ready;  // as told last
  std::uint32_t worker_backlog = 0;
  transport::Subscription::News news;       // what is being taken in
  std::vector<transport::GrownPool> early;  // pools of streams that have not come in yet
  std::shared_ptr<transport::Subscription> subscription;
  std::shared_ptr<NodeImpl> node;
};

}  // namespace sluice
