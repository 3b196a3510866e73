// The victim: a stage that reads and publishes in every way there is, until it dies or is told to
// leave. It checks what it reads; a wrong byte is an abort, which the survivor tells from a
// SIGKILL.
#include "tests/process/kill_roles.hpp"
#include "tests/support/process_link.hpp"

#include <array>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

namespace sluice::test {
namespace {

constexpr std::size_t kMostHeld = 3;

void insist(bool kept, const char* promise) {
  if (kept) return;
  std::fprintf(stderr, "victim: broken: %s\n", promise);
  std::abort();
}

StreamOptions results_options() {
  StreamOptions options;
  options.label = "results";
  options.lanes = {{4, 1}, {4, 0}};
  options.pools = {{256, 0}, {shm::kLargeSlotBytes, 0}};
  options.max_loans = 3;
  options.max_held = 24;
  options.max_references = 2;
  options.max_slots = 256;
  options.on_full = OnFull::evict;
  return options;
}

StreamOptions orders_options() {
  StreamOptions options;
  options.label = "orders";
  options.lanes = {{4, 0}};
  options.pools = {{64, 0}};
  options.max_held = 8;
  options.on_full = OnFull::wait;
  options.full_timeout_ns = 2'000'000;
  return options;
}

class Victim {
 public:
  explicit Victim(unsigned seed) : random_(seed) {
    for (std::size_t i = 0; i < frames_.size(); ++i) join_frames(i);
    events_ = ask(Topic::events, {.mode = DeliveryMode::next, .max_held = 2, .spin_ns = 0});
    tasks_ = ask(Topic::tasks, crew());
  }

  void live() {
    for (std::uint64_t round = 0; !left_; ++round) {
      serve();
      read_in_order();
      read_reliably();
      resolve();
      work();
      publish_results(round);
      publish_orders();
      if (round < 60 && round % 10 == 9) must(results_->add_pool({shm::kLargeSlotBytes * 16, 4}));
      if (round % 5 == 4) rejoin(round / 5 % frames_.size());
      if (round % 8 == 7) ::usleep(static_cast<unsigned>(300 + random_() % 700));
      results_->reap();
      orders_->reap();
    }
    held_.clear();
  }

 private:
  shm::ReaderPtr ask(Topic topic, const SubscriptionOptions& options) {
    must(send_value(kVictimAsks, Ask{topic}));
    // The survivor may be waiting for us to acknowledge, or to answer.
    pollfd p{kVictimAsks, POLLIN, 0};
    while (::poll(&p, 1, 1) != 1) {
      if (frames_[2]) read_reliably();
      if (tasks_) work();
      serve();
    }
    return must(attach_over(kVictimAsks, options, arena_));
  }
  void join_frames(std::size_t i) {
    frames_[i] =
        ask(Topic::frames, {.mode = static_cast<DeliveryMode>(1 + i), .max_held = 4, .spin_ns = 0});
  }
  void rejoin(std::size_t i) {
    // Half of the time samples outlive their reader.
    if (random_() % 2 == 0) held_.clear();
    frames_[i].reset();
    held_.clear();
    join_frames(i);
  }

  // Lets the survivor read, in two steps and without waiting for it.
  void serve() {
    pollfd p{kSurvivorAsks, POLLIN, 0};
    if (left_ || ::poll(&p, 1, 0) != 1) return;
    if (served_ == nullptr) {
      const auto asked = must(receive_value<Ask>(kSurvivorAsks));
      left_ = asked.topic == Topic::leave;
      if (left_) return;
      served_ = asked.topic == Topic::results ? results_.get() : orders_.get();
      must(send_stream(kSurvivorAsks, must(served_->share())));
      return;
    }
    auto request = must(receive_request(kSurvivorAsks));
    request.wake_arena = wake_arena_;
    shm::Publisher& publisher = *std::exchange(served_, nullptr);
    must(send_admission(kSurvivorAsks, must(publisher.attach(std::move(request))), *wake_arena_));
  }

  void keep(Sample sample) {
    insist(is_whole(sample, Topic::frames), "a frame is whole");
    held_.push_back(std::move(sample));
    while (held_.size() > kMostHeld) {
      insist(is_whole(held_.front(), Topic::frames), "a held frame stays whole");
      held_.pop_front();
    }
  }

  void read_in_order() {
    shm::Reader& reader = *frames_[1];
    (void)reader.wait(shm::deadline_in(200'000));
    std::array<Sample, 2> batch;
    const std::size_t n = reader.take(batch);
    for (std::size_t i = 0; i < n; ++i) keep(std::move(batch[i]));
  }

  void read_reliably() {
    shm::Reader& reader = *frames_[2];
    std::array<Sample, 3> batch;
    const std::size_t n = reader.take(batch);
    for (std::size_t i = n; i-- > 0;) {  // the newest first
      insist(is_whole(batch[i], Topic::frames), "a frame is whole");
      reader.acknowledge(batch[i]);
    }
  }

  // Now and then it drains for a while; nothing depends on the crew being there.
  void work() {
    const bool draining = random_() % 8 == 0;
    tasks_->tell_load(draining ? WorkerState::draining : WorkerState::ready,
                      static_cast<std::uint32_t>(random_() % 4));
    std::array<Sample, 3> batch;
    const std::size_t n = tasks_->take(batch);
    for (std::size_t i = n; i-- > 0;) {  // the newest first
      insist(is_whole(batch[i], Topic::tasks), "a task is whole");
      if (random_() % 3 == 0) {
        tasks_->reject(std::move(batch[i]));
      } else {
        tasks_->acknowledge(std::move(batch[i]));
      }
    }
    if (draining) tasks_->tell_load(WorkerState::ready, 0);
  }

  void resolve() {
    Sample event = events_->take();
    if (!event) return;
    Reference reference;
    insist(event.reference_count() == 1, "an event holds a frame");
    reference = event.reference_at(0);
    Sample frame = frames_[1]->resolve(reference);
    insist(frame || frame.outcome() == Outcome::quota || frame.outcome() == Outcome::timeout,
           "what an event holds can be resolved");
    if (frame) keep(std::move(frame));
  }

  void publish_results(std::uint64_t round) {
    const auto lane = static_cast<Priority>(round % 2);
    if (round % 4 == 3) {
      std::vector<Loan> loans;
      loans.push_back(results_->loan(64, lane));
      loans.push_back(results_->loan(128, lane));
      for (Loan& loan : loans) {
        insist(static_cast<bool>(loan), "a publisher that evicts has room");
        fill(loan, Topic::results, ++serial_);
      }
      insist(results_->publish(loans) == Outcome::ok, "a batch can be published");
      return;
    }
    Loan loan = results_->loan(round % 4 == 1 ? 5000 : 64, lane);
    insist(static_cast<bool>(loan), "a publisher that evicts has room");
    fill(loan, Topic::results, ++serial_);
    if (Sample frame = frames_[0]->take()) {
      insist(is_whole(frame, Topic::frames), "the newest frame is whole");
      (void)loan.attach(std::move(frame));
    }
    if (round % 16 == 6) return;  // a loan that is not published
    insist(results_->publish(std::move(loan)) == Outcome::ok, "a result can be published");
  }

  void publish_orders() {
    Loan loan = orders_->loan(32);
    insist(loan || loan.outcome() == Outcome::full, "an order has a slot or waits in vain");
    if (!loan) return;
    fill(loan, Topic::orders, ++serial_);
    insist(orders_->publish(std::move(loan)) == Outcome::ok, "an order can be published");
  }

  std::minstd_rand random_;
  std::shared_ptr<shm::Arena> arena_ = must(shm::Arena::create("victim-readers"));
  std::shared_ptr<shm::Arena> wake_arena_ = must(shm::Arena::create("victim-wakes"));
  shm::PublisherPtr results_ = must(shm::Publisher::create(results_options()));
  shm::PublisherPtr orders_ = must(shm::Publisher::create(orders_options()));
  std::array<shm::ReaderPtr, 3> frames_;  // latest, next, reliable
  shm::ReaderPtr events_;
  shm::ReaderPtr tasks_;
  std::deque<Sample> held_;
  shm::Publisher* served_ = nullptr;  // has sent its stream and expects a request
  bool left_ = false;
  std::uint64_t serial_ = 0;
};

}  // namespace

int be_victim(unsigned seed) {
  Victim{seed}.live();
  return 0;
}

}  // namespace sluice::test
