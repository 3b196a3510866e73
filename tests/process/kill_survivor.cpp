// The survivor: lives with the victim until the victim is gone, then proves that nothing else is.
#include "shm/wait_set.hpp"
#include "tests/process/kill_roles.hpp"
#include "tests/process/planned_slots.hpp"
#include "tests/support/local_link.hpp"
#include "tests/support/process_link.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace sluice::test {
namespace {

constexpr int kRounds = 220;
constexpr int kRoundsAfter = 30;
constexpr std::uint32_t kVictimHolds = 4 + 4 + 4;  // of frames, over its three readers

struct Broken {};

void prove(bool kept, const char* promise) {
  if (kept) return;
  std::fprintf(stderr, "broken: %s\n", promise);
  throw Broken{};
}

StreamOptions frames_options(bool patient) {
  StreamOptions options;
  options.label = "frames";
  options.lanes = {{8, 2}, {4, 0}};
  options.pools = {{256, 0}, {shm::kLargeSlotBytes, 0}};
  options.max_loans = 3;
  options.max_held = 4 * 4 + 2 * kVictimHolds;  // the victim may rejoin before it is reaped
  options.on_full = OnFull::wait;
  options.full_timeout_ns = patient ? 5'000'000'000 : 3'000'000;
  return options;
}

StreamOptions events_options(bool patient) {
  StreamOptions options = frames_options(patient);
  options.label = "events";
  options.lanes = {{4, 0}};
  options.pools = {{64, 0}};
  options.max_held = 8;
  options.max_references = 1;
  return options;
}

StreamOptions tasks_options(bool patient) {
  StreamOptions options = frames_options(patient);
  options.label = "tasks";
  options.on_full = OnFull::fail;  // what it waits for may be its own to do
  options.lanes = {{16, 0}};
  options.pools = {{64, 0}};
  options.max_held = 4 + 2 * 4;  // its own, and the victim's
  return options;
}

// A reader and what it is to have seen.
struct Eye {
  Topic topic = Topic::frames;
  DeliveryMode mode = DeliveryMode::next;
  shm::ReaderPtr reader;
  std::uint64_t from = 0;
  std::array<std::uint64_t, kMaxLanes> last{};
  std::deque<Sample> held;
  std::size_t holds = 0;    // keeps so many samples for a while
  std::uint64_t every = 1;  // looks every so many rounds
  bool idle = false;        // never looks: is to be evicted

  void opened(shm::ReaderPtr r) {
    held.clear();
    last = {};
    reader = std::move(r);
    from = passed_by(*reader);
  }
  void let_go_of_oldest() {
    prove(is_whole(held.front(), topic) || !held.front().intact(), "a held message stays whole");
    reader->acknowledge(held.front());
    held.pop_front();
  }
  /// Takes all there is; why there is no more.
  Outcome drain() {
    for (;;) {
      Sample sample = reader->take();
      if (!sample) {
        if (sample.outcome() != Outcome::quota) return sample.outcome();
        prove(!held.empty(), "a quota is reached by holding");
        let_go_of_oldest();
        continue;
      }
      prove(is_whole(sample, topic) || !sample.intact(), "a message is whole");
      const auto lane = static_cast<std::size_t>(sample.info().priority);
      prove(sample.info().sequence > last[lane], "messages are in order");
      prove(mode != DeliveryMode::reliable || last[lane] == 0 ||
                sample.info().sequence == last[lane] + 1,
            "a reliable reader gets every message");
      last[lane] = sample.info().sequence;
      held.push_back(std::move(sample));
      while (held.size() > holds) let_go_of_oldest();
    }
  }
  void release_all() {
    while (!held.empty()) let_go_of_oldest();
  }
  void prove_counts() const {
    prove(reader->waiting() == 0, "nothing is left waiting");
    prove(reader->counters().taken.load() + lost_by(*reader) == passed_by(*reader) - from,
          "published = taken + lost");
  }
};

class Survivor {
 public:
  explicit Survivor(const Plan& plan)
      : plan_(plan),
        random_(plan.seed),
        asks_(socket_pair()),
        child_(start_victim(plan, asks_[1].get())),
        frames_options_(frames_options(plan.harm != Plan::Harm::stop)),
        events_options_(events_options(plan.harm != Plan::Harm::stop)),
        tasks_options_(tasks_options(plan.harm != Plan::Harm::stop)),
        frames_(frames_options_),
        events_(events_options_),
        tasks_(tasks_options_) {
    asks_[1].reset();
    death_ = pidfd_open(child_.pid());
    for (const DeliveryMode mode :
         {DeliveryMode::latest, DeliveryMode::next, DeliveryMode::reliable}) {
      Eye eye;
      eye.mode = mode;
      eye.holds = mode == DeliveryMode::next ? 2 : 0;
      eye.opened(frames_.attach({.mode = mode, .max_held = 4, .spin_ns = 0}));
      own_.push_back(std::move(eye));
    }
    resolver_ = frames_.attach({.mode = DeliveryMode::latest, .max_held = 4, .spin_ns = 0});
    worker_ = tasks_.attach(crew());
    // prompt, late but reliable, holding, one that will be evicted; one of the orders
    others_.resize(5);
    others_[0].mode = DeliveryMode::next;
    others_[1].mode = DeliveryMode::reliable;
    others_[1].every = 2;
    others_[2].mode = DeliveryMode::next;
    others_[2].holds = 3;
    others_[3].mode = DeliveryMode::reliable;
    others_[3].idle = true;
    others_[4].mode = DeliveryMode::reliable;
    others_[4].every = 8;
    for (Eye& eye : others_) eye.topic = Topic::results;
    others_[4].topic = Topic::orders;
    joined_.resize(others_.size());
  }

  int run() {
    while (!shm::has_died(death_) && !all_joined()) {
      serve();
      join();
      ::usleep(50);
    }
    int round = 0;
    const int harm_at =
        plan_.harm == Plan::Harm::none ? -1 : 20 + static_cast<int>(random_() % 120);
    for (; round < kRounds && !shm::has_died(death_); ++round) {
      serve();
      join();
      publish(round);
      read(round);
      if (round == harm_at && plan_.harm == Plan::Harm::kill) {
        ::usleep(static_cast<unsigned>(random_() % 400));
        child_.kill();
      }
      if (round == harm_at && plan_.harm == Plan::Harm::stop) live_with_a_stopped_one(round);
    }
    return end(round);
  }

 private:
  static std::array<shm::UniqueFd, 2> socket_pair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) std::abort();
    return {shm::UniqueFd{ends[0]}, shm::UniqueFd{ends[1]}};
  }

  // A new program image, since the library reads the kill point only once.
  static Child start_victim(const Plan& plan, int asks) {
    return Child::run([&](int socket) {
      // Above the two numbers first, since either may stand where the other belongs.
      const int a = ::fcntl(socket, F_DUPFD, 10);
      const int b = ::fcntl(asks, F_DUPFD, 10);
      ::dup2(a, kVictimAsks);
      ::dup2(b, kSurvivorAsks);
      ::close(a);
      ::close(b);
      if (!plan.point.empty()) {
        const std::string at = plan.point + ":" + std::to_string(plan.visit);
        ::setenv("SLUICE_KILL_AT", at.c_str(), 1);
      }
      ::execl("/proc/self/exe", "kill_test", "--victim", std::to_string(plan.seed).c_str(),
              nullptr);
      return 126;
    });
  }

  // What the victim asks for. It may die in the middle of any of this.
  void serve() {
    pollfd p{child_.socket(), POLLIN, 0};
    if (::poll(&p, 1, 0) != 1 || (p.revents & POLLIN) == 0) return;
    const auto asked = receive_value<Ask>(child_.socket());
    if (!asked) return;
    LocalLink& link = asked->topic == Topic::frames   ? frames_
                      : asked->topic == Topic::events ? events_
                                                      : tasks_;
    link.publisher().reap();
    (void)admit_over(child_.socket(), link.publisher(), link.wake_arena());
  }

  // Joins the victim's streams, one after the other, and rejoins what was evicted.
  void join() {
    if (!asking_) {
      if (all_joined()) return;
      const auto next = std::find(joined_.begin(), joined_.end(), false) - joined_.begin();
      asking_ = static_cast<std::size_t>(next);
      (void)send_value(asks_[0].get(), Ask{others_[*asking_].topic});
    }
    pollfd p{asks_[0].get(), POLLIN, 0};
    if (::poll(&p, 1, 0) != 1) return;
    Eye& eye = others_[*asking_];
    auto reader = attach_over(
        asks_[0].get(),
        {.mode = eye.mode, .max_held = static_cast<std::uint32_t>(eye.holds) + 1, .spin_ns = 0},
        arena_);
    if (reader) {
      eye.opened(std::move(*reader));
      joined_[*asking_] = true;
    } else {
      pollfd death{death_.get(), POLLIN, 0};
      prove(::poll(&death, 1, 5'000) == 1, "a living victim lets others read");
    }
    asking_.reset();
  }
  [[nodiscard]] bool all_joined() const {
    return std::find(joined_.begin(), joined_.end(), false) == joined_.end();
  }

  // 1 to 3 frames and an event. A patient stream is never full: a dead reader is found out in time.
  void publish(int round) {
    const auto lane = static_cast<Priority>(round % 3 == 2);
    const bool large = round % 8 == 5;
    std::vector<Loan> batch;
    for (int i = round % 5 == 0 ? 3 : 1; i > 0; --i) {
      Loan loan = frames_.publisher().loan(large ? 4096 : 64, lane);
      if (!loan && is_patient()) {
        std::fprintf(stderr, "a loan is refused: %s\n", to_string(loan.outcome()));
      }
      prove(loan || (!is_patient() && loan.outcome() == Outcome::full), "a frame has a slot");
      if (!loan) continue;
      fill(loan, Topic::frames, ++serial_);
      batch.push_back(std::move(loan));
    }
    prove(frames_.publisher().publish(batch) == Outcome::ok, "frames can be published");
    frames_published_ += batch.size();
    publish_task();

    Sample frame = resolver_->take();
    if (!frame) return;
    Loan event = events_.publisher().loan(16);
    prove(event || (!is_patient() && event.outcome() == Outcome::full), "an event has a slot");
    if (!event) return;
    fill(event, Topic::events, ++serial_);
    prove(event.attach(std::move(frame)) == Outcome::ok, "an event can hold a frame");
    prove(events_.publisher().publish(std::move(event)) == Outcome::ok, "events can be published");
  }
  void publish_task() {
    Loan task = tasks_.publisher().loan(40);
    prove(task || task.outcome() == Outcome::full, "a task has a slot");
    if (!task) {
      tasks_.publisher().reap();  // as a node's thread does; who does not wait asks nobody
      return;
    }
    fill(task, Topic::tasks, tasks_published_ + 1);
    prove(tasks_.publisher().publish(std::move(task)) == Outcome::ok, "tasks can be published");
    ++tasks_published_;
  }
  // `finish`: rejects nothing.
  void work(bool finish) {
    while (Sample task = worker_->take()) {
      prove(is_whole(task, Topic::tasks), "a task is whole");
      const std::uint64_t serial = task.info().correlation.low;
      prove(task.info().redelivered || deliveries_[serial] == 0, "what comes again is marked");
      prove(task.info().deliveries_before >= std::min(deliveries_[serial], 255u),
            "every delivery is counted");
      ++deliveries_[serial];
      if (!finish && random_() % 4 == 0) {
        worker_->reject(std::move(task));
      } else {
        worker_->acknowledge(std::move(task));
      }
    }
  }
  [[nodiscard]] bool is_patient() const { return frames_options_.full_timeout_ns > 1'000'000'000; }

  void read(int round) {
    for (Eye& eye : own_) (void)eye.drain();
    work(false);
    for (std::size_t i = 0; i < others_.size(); ++i) {
      Eye& eye = others_[i];
      if (!joined_[i]) continue;
      if (i == 0) {
        (void)eye.reader->wait(shm::deadline_in(300'000));
        resolve(eye);
      }
      if (eye.idle && eye.reader->over() != Outcome::evicted) continue;
      if (round % static_cast<int>(eye.every) != 0) continue;
      if (eye.drain() == Outcome::evicted) {
        prove(eye.mode == DeliveryMode::reliable, "only a reliable reader can be too slow");
        eye.held.clear();
        eye.reader.reset();
        joined_[i] = false;
      }
    }
  }

  // A result that holds a frame: the same bytes, reached through the victim's stream.
  void resolve(Eye& eye) {
    Sample result = eye.reader->take();
    if (!result) return;
    prove(is_whole(result, eye.topic), "a result is whole");
    eye.last[static_cast<std::size_t>(result.info().priority)] = result.info().sequence;
    if (result.reference_count() == 0) return;
    Sample frame = resolver_->resolve(result.reference_at(0));
    // The dead hold nothing; the living do.
    prove(frame || shm::has_died(death_) || frame.outcome() == Outcome::quota,
          "what a result holds can be resolved");
    if (!frame) return;
    prove(is_whole(frame, Topic::frames), "a resolved frame is whole");
    prove(frame.info().sequence != 0, "and knows its number");
    if (resolved_.size() == 2) resolved_.pop_front();
    resolved_.push_back(std::move(frame));
  }

  void live_with_a_stopped_one(int round) {
    child_.kill(SIGSTOP);
    for (int i = 0; i < kRoundsAfter; ++i) {
      publish(round + i);
      read(round + i);
    }
    child_.kill(SIGCONT);
  }

  int end(int round) {
    const bool reaped_first = round % 2 == 0;  // half of the time the publishers find out alone
    const bool alive = !shm::has_died(death_);
    bool told = false;
    while (alive && !shm::has_died(death_)) {  // it may be waiting for us
      serve();
      if (asking_) {
        join();
      } else if (!std::exchange(told, true)) {
        (void)send_value(asks_[0].get(), Ask{Topic::leave});
      }
      publish(++round);
      read(round);
    }
    const int code = child_.join();
    const bool killed = code == 128 + SIGKILL;
    if (!killed && code != 0) {
      std::fprintf(stderr, "the victim ended with %d\n", code);
      return kBroken;
    }
    go_on(round, reaped_first);
    drain_the_dead();
    count_frames();
    if (!plan_.point.empty() && !killed) return kNotReached;
    prove(killed == (!plan_.point.empty() || plan_.harm == Plan::Harm::kill), "killed as planned");
    return kProven;
  }

  // The others do not notice: messages go on, new readers come.
  void go_on(int round, bool reaped_first) {
    if (reaped_first) {
      frames_.publisher().reap();
      events_.publisher().reap();
      tasks_.publisher().reap();
      prove(frames_.publisher().reader_count() == own_.size() + 1, "the victim's readers are gone");
      Eye eye;
      eye.opened(
          frames_.attach({.mode = DeliveryMode::reliable, .max_held = kVictimHolds, .spin_ns = 0}));
      eye.mode = DeliveryMode::reliable;
      own_.push_back(std::move(eye));
    }
    const std::uint64_t before = frames_published_;
    for (int i = 0; i < kRoundsAfter; ++i) {
      publish(round + i);
      for (Eye& eye : own_) (void)eye.drain();
      work(false);
    }
    do_the_rest();
    prove(!is_patient() || frames_published_ - before >= kRoundsAfter, "publishing goes on");
    for (const Sample& frame : resolved_) {
      prove(is_whole(frame, Topic::frames), "a resolved frame stays whole");
    }
    for (Eye& eye : own_) {
      eye.release_all();
      eye.prove_counts();
      prove(eye.mode == DeliveryMode::latest || lost_by(*eye.reader) == 0,
            "who keeps up loses nothing");
    }
  }

  // No task is lost: the group has settled them all.
  void do_the_rest() {
    tasks_.publisher().reap();
    for (int i = 0; i < 1000 && tasks_.publisher().backlog(Priority::critical) != 0; ++i) {
      work(true);
      tasks_.publisher().tend();
    }
    prove(tasks_.publisher().backlog(Priority::critical) == 0, "every task is done");
    prove(tasks_published_ >= kRoundsAfter, "and there are some");
    prove(tasks_.publisher().counters().overwritten.load() == 0, "none was overwritten");
  }

  // What the victim had published is there to the end, and then its end is seen.
  void drain_the_dead() {
    auto set = must(shm::WaitSet::create());
    for (std::size_t i = 0; i < others_.size(); ++i) {
      if (joined_[i]) set.add(*others_[i].reader);
    }
    if (!set.readers().empty()) {
      prove(set.wait(shm::deadline_in(5'000'000'000)) == Outcome::ok, "a wait set sees the end");
    }
    for (std::size_t i = 0; i < others_.size(); ++i) {
      Eye& eye = others_[i];
      if (!joined_[i]) continue;
      for (;;) {
        const Outcome why = eye.drain();
        if (why == Outcome::ended || why == Outcome::evicted) break;
        const Outcome waited = eye.reader->wait(shm::deadline_in(5'000'000'000));
        prove(waited != Outcome::timeout, "the end of a dead publisher is seen");
      }
      eye.release_all();
      if (eye.reader->over() == Outcome::ended) eye.prove_counts();
      eye.reader.reset();
    }
    prove(arena_->used() == 0, "no reader page of a dead stream is lost");
  }

  void count_frames() {
    resolved_.clear();
    own_.clear();
    events_.publisher().reap();
    events_.publisher().collect();
    resolver_.reset();
    worker_.reset();
    for (auto* stream : {&frames_, &events_, &tasks_}) {
      const auto& options = stream == &frames_   ? frames_options_
                            : stream == &events_ ? events_options_
                                                 : tasks_options_;
      const std::string lost = find_lost_slots(*stream, options);
      prove(lost.empty(), lost.c_str());
    }
  }

  const Plan plan_;
  std::minstd_rand random_;
  std::array<shm::UniqueFd, 2> asks_;
  Child child_;
  shm::UniqueFd death_;
  StreamOptions frames_options_;
  StreamOptions events_options_;
  StreamOptions tasks_options_;
  LocalLink frames_;
  LocalLink events_;
  LocalLink tasks_;
  shm::ReaderPtr resolver_;
  shm::ReaderPtr worker_;
  std::map<std::uint64_t, unsigned> deliveries_;  // of a task, to worker_
  std::vector<Eye> own_;     // of frames
  std::vector<Eye> others_;  // of results and orders
  std::vector<bool> joined_;
  std::optional<std::size_t> asking_;  // the next of others_ is on its way in
  std::shared_ptr<shm::Arena> arena_ = must(shm::Arena::create("survivor-readers"));
  std::deque<Sample> resolved_;
  std::uint64_t serial_ = 0;
  std::uint64_t frames_published_ = 0;
  std::uint64_t tasks_published_ = 0;
};

}  // namespace

int survive(const Plan& plan) {
  try {
    return Survivor{plan}.run();
  } catch (const Broken&) {
    return kBroken;
  }
}

}  // namespace sluice::test
