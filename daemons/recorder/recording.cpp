// What is taken is copied and released at once: no publisher's slot waits for a disk. Of a durable
// message only the receipt is kept, until the store says that it is written.
//
// The store's thread delivers what it has settled into the mailbox and interrupts the wait. While
// the store takes nothing (its queue is full, since the disk is slow or full) nothing is taken here
// either: durable messages wait at their publishers, others are overwritten there.
#include "daemons/recorder/recording.hpp"

#include "daemons/recorder/convert.hpp"
#include "shm/kill_point.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/topic.hpp"

#include <time.h>

#include <algorithm>
#include <utility>

namespace sluice::recorder {
namespace {

constexpr std::size_t kAtOnce = 256;
constexpr std::uint32_t kHistory = 1'024;  // of dead letters, and of what the broker keeps

std::int64_t read_clock(clockid_t clock) noexcept {
  timespec now{};
  ::clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::int64_t clock_offset_ns() noexcept {
  return read_clock(CLOCK_REALTIME) - read_clock(CLOCK_MONOTONIC);
}

}  // namespace

Result<std::unique_ptr<Recording>> Recording::create(Node& node, Store& store, Mailbox& mailbox,
                                                     const RecordingOptions& options) {
  auto set = WaitSet::create();
  if (!set) return std::move(set).error();
  std::unique_ptr<Recording> recording{
      new Recording(node, store, mailbox, options, std::move(set).value())};
  if (auto subscribed = recording->subscribe(node); !subscribed) return subscribed.error();
  mailbox.on_delivery([r = recording.get()] { r->interrupt(); });
  return recording;
}

Recording::~Recording() { mailbox_.on_delivery({}); }

Result<void> Recording::subscribe(Node& node) {
  SubscriptionOptions options;
  options.recorder = true;
  options.max_held = 2;
  options.spin_ns = 0;
  if (!options_.durable.empty()) {
    SubscriptionOptions durable = options;
    durable.mode = DeliveryMode::group;
    durable.group = kRecorderGroup;
    durable.credits = kMaxCredits;
    durable.durable = true;
    auto made = node.subscribe(options_.durable, durable, &set_);
    if (!made) return std::move(made).error();
    durable_ = std::move(made).value();
  }
  std::vector<std::string> filters{"$sys/access", "$sys/nodes", "$dlq/#"};
  filters.insert(filters.end(), options_.filters.begin(), options_.filters.end());
  options.mode = DeliveryMode::next;
  options.history = kHistory;
  auto made = node.subscribe(filters, options, &set_);
  if (!made) return std::move(made).error();
  other_ = std::move(made).value();
  return {};
}

void Recording::step(Deadline deadline) {
  acknowledge();
  if (!put_held()) {
    mailbox_.wait(
        std::min(deadline, std::chrono::steady_clock::now() + std::chrono::milliseconds{50}));
    return;
  }
  std::size_t count = durable_ ? take(*durable_, true) : 0;
  count += take(*other_, false);
  lost_.store(other_->stats().lost(), std::memory_order_relaxed);  // a count of its own
  if (count == 0) (void)set_.wait(deadline);
}

void Recording::finish() {
  const Deadline patience = std::chrono::steady_clock::now() + std::chrono::seconds{5};
  while (std::chrono::steady_clock::now() < patience) {
    acknowledge();
    if (put_held() && waiting_.empty()) break;
    mailbox_.wait(
        std::min(patience, std::chrono::steady_clock::now() + std::chrono::milliseconds{50}));
  }
}

void Recording::acknowledge() {
  mailbox_.collect(settled_);
  for (const Settled& settled : settled_) {
    const auto found = waiting_.find(settled.ticket);
    if (found == waiting_.end()) continue;
    // Dropped ones are acknowledged as well: they were not durable, or nobody shall wait for them.
    SLUICE_KILL_POINT("recording.settled");
    durable_->acknowledge(found->second);
    waiting_.erase(found);
  }
}

bool Recording::is_durable(std::string_view topic) const noexcept {
  return std::any_of(options_.durable.begin(), options_.durable.end(),
                     [&](const std::string& filter) { return filter_matches(filter, topic); });
}

// Counts what is not. What is durable may be large: its publisher hears that it is on the disk.
bool Recording::is_wanted(const Sample& sample, const std::optional<Envelope>& envelope,
                          bool durable) {
  const std::uint64_t most = durable ? kMaxRecordedBytes : options_.max_message_bytes;
  std::atomic<std::uint64_t>* cause = nullptr;
  if (!envelope) {
    cause = &raw_;
  } else if ((envelope->flags & kFlagSensitive) != 0) {
    cause = &sensitive_;
  } else if (sample.size() - envelope->header_bytes > most) {
    cause = &large_;
  }
  if (cause != nullptr) cause->fetch_add(1, std::memory_order_relaxed);  // a count of its own
  return cause == nullptr;
}

// Whether it was kept: it is acknowledged later then.
bool Recording::record(Subscriber& subscriber, const Sample& sample, bool durable) {
  const std::string_view topic = subscriber.topic(sample);
  // A topic that is durable as well comes by the other subscription.
  if (!durable && is_durable(topic)) return false;
  const auto envelope = read_envelope(sample.bytes());
  if (!is_wanted(sample, envelope, durable)) return false;
  Record made = record_of(sample.bytes(), *envelope, sample.info(), topic, clock_offset_ns());
  // Its publisher took the memory back while it was copied: what is here may be anything.
  if (!sample.intact()) return false;
  made.durable = durable;
  identities_.name(sample.reference().stream_id, made);
  taken_.fetch_add(1, std::memory_order_relaxed);  // a count of its own
  std::uint64_t ticket = 0;
  if (durable) {
    ticket = next_ticket_++;
    waiting_.emplace(ticket, subscriber.receipt(sample));
  }
  if (!store_.put(std::move(made), ticket)) {
    held_ = std::move(made);
    held_ticket_ = ticket;
  }
  return true;
}

std::size_t Recording::take(Subscriber& subscriber, bool durable) {
  std::size_t count = 0;
  for (; count < kAtOnce && !held_; ++count) {
    Sample sample = subscriber.take();
    if (!sample) break;
    if (!record(subscriber, sample, durable)) subscriber.acknowledge(std::move(sample));
  }
  return count;
}

bool Recording::put_held() {
  if (!held_) return true;
  if (!store_.put(std::move(*held_), held_ticket_)) return false;
  held_.reset();
  return true;
}

RecordingCounts Recording::counts() const {
  // Relaxed: counts that need not agree with each other.
  return {taken_.load(std::memory_order_relaxed), sensitive_.load(std::memory_order_relaxed),
          raw_.load(std::memory_order_relaxed), large_.load(std::memory_order_relaxed),
          lost_.load(std::memory_order_relaxed)};
}

}  // namespace sluice::recorder
