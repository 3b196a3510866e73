// A group of worker processes, a publisher, and a real broker: every task is done, whoever is
// killed.
#include "sluice/node.hpp"
#include "tests/support/broker_process.hpp"

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

struct Report {
  std::uint64_t task = 0;
  std::uint32_t worker = 0;
  std::uint16_t redelivered = 0;
  std::uint8_t deliveries_before = 0;
  bool rejected = false;
};

struct Plan {
  std::uint32_t credits = 4;
  std::chrono::microseconds work{0};
  unsigned last = 0;          // tasks after which it leaves in order; 0: never
  unsigned reject_every = 0;  // it gives every so manieth back; 0: none
  bool durable = false;
};

// A child process: takes tasks, says which through a pipe, and acknowledges then. Reports come at
// least as often as acknowledgements.
int be_worker(const std::string& socket, int pipe, std::uint32_t number, const Plan& plan) {
  NodeOptions o;
  o.name = "worker " + std::to_string(number);
  o.socket = socket;
  auto node = Node::create(std::move(o));
  if (!node) return 2;
  SubscriptionOptions wanted{
      .mode = DeliveryMode::group, .max_held = 8, .group = "workers", .credits = plan.credits};
  wanted.durable = plan.durable;
  auto tasks = node->subscribe("tasks", wanted);
  if (!tasks) return 3;
  unsigned done = 0;
  unsigned taken = 0;
  while (plan.last == 0 || done < plan.last) {
    Sample sample = tasks->take();
    if (!sample) {
      (void)tasks->wait(Clock::now() + 1s);
      continue;
    }
    Report report;
    std::memcpy(&report.task, sample.data(), sizeof report.task);
    report.worker = number;
    report.redelivered = sample.info().redelivered;
    report.deliveries_before = sample.info().deliveries_before;
    report.rejected = plan.reject_every != 0 && ++taken % plan.reject_every == 0;
    if (plan.work != 0us) std::this_thread::sleep_for(plan.work);
    if (::write(pipe, &report, sizeof report) != sizeof report) return 4;
    if (report.rejected) {
      tasks->reject(std::move(sample));
      continue;
    }
    tasks->acknowledge(std::move(sample));
    ++done;
  }
  return 0;
}

class GroupTest : public testing::Test {
 protected:
  GroupTest() {
    if (::pipe(pipe_) != 0) throw std::runtime_error("pipe");
  }
  ~GroupTest() override {
    for (const pid_t worker : workers_) kill_worker(worker);
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }

  // Before this process has threads of its own, where that can be.
  pid_t start_worker(const Plan& plan = {}) {
    const auto number = static_cast<std::uint32_t>(workers_.size());
    const pid_t child = ::fork();
    if (child == 0) ::_exit(be_worker(broker_.socket(), pipe_[1], number, plan));
    workers_.push_back(child);
    return child;
  }
  static void kill_worker(pid_t worker) {
    ::kill(worker, SIGKILL);
    ::waitpid(worker, nullptr, 0);
  }
  Node node(bool background_thread = true) {
    NodeOptions o;
    o.name = "master";
    o.socket = broker_.socket();
    o.background_thread = background_thread;
    auto made = Node::create(std::move(o));
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  static Publisher advertise(Node& node, std::uint32_t depth) {
    StreamOptions o;
    o.lanes = {{.depth = depth}};
    o.pools = {{64}};
    o.max_held = 64;
    o.full_timeout_ns = 20'000'000'000;
    auto made = node.advertise("tasks", o);
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  static bool publish(Publisher& publisher, std::uint64_t task) {
    Loan loan = publisher.loan(sizeof task);
    if (!loan) return false;
    std::memcpy(loan.data(), &task, sizeof task);
    return publisher.publish(std::move(loan)) == Outcome::ok;
  }
  static bool attached(Publisher& publisher, std::size_t count) {
    return eventually([&] { return publisher.subscriber_count() == count; }, 10s);
  }
  // Reads reports until every task from 1 to `last` was done, or for so long. `meanwhile` is called
  // after each wait for a report.
  template <typename Meanwhile>
  bool all_done(std::uint64_t last, std::chrono::milliseconds patience, Meanwhile meanwhile) {
    const auto until = Clock::now() + patience;
    while (done_.size() < last && Clock::now() < until) {
      pollfd p{pipe_[0], POLLIN, 0};
      if (::poll(&p, 1, 10) == 1) {
        Report report;
        if (::read(pipe_[0], &report, sizeof report) != sizeof report) return false;
        (report.rejected ? rejected_ : done_)[report.task].push_back(report);
      }
      meanwhile();
    }
    return done_.size() == last;
  }
  bool all_done(std::uint64_t last, std::chrono::milliseconds patience = 20s) {
    return all_done(last, patience, [] {});
  }
  // Publishes tasks from 1 on until each worker has done one, so that all are there for sure: a
  // publisher counts those to whom its answer is still under way. The number of the last one.
  std::uint64_t get_going(Publisher& publisher, std::size_t count) {
    std::uint64_t last = 0;
    while (tasks_by_worker().size() < count && last < 1000) {
      if (!publish(publisher, ++last) || !all_done(last)) return 0;
    }
    return last;
  }
  // Only what is given again may be done again.
  void expect_repeats_are_marked() const {
    for (const auto& [task, reports] : done_) {
      for (std::size_t i = 1; i < reports.size(); ++i) EXPECT_TRUE(reports[i].redelivered) << task;
    }
  }
  [[nodiscard]] std::map<std::uint32_t, std::uint64_t> tasks_by_worker() const {
    std::map<std::uint32_t, std::uint64_t> all;
    for (const auto& [task, reports] : done_) ++all[reports.front().worker];
    return all;
  }

  BrokerProcess broker_{SLUICE_SLUICED};
  int pipe_[2] = {-1, -1};
  std::vector<pid_t> workers_;
  std::map<std::uint64_t, std::vector<Report>> done_;
  std::map<std::uint64_t, std::vector<Report>> rejected_;
};

TEST_F(GroupTest, EachTaskIsDoneByOneWorker) {
  for (int i = 0; i < 3; ++i) start_worker();
  Node master = node();
  Publisher tasks = advertise(master, 64);
  ASSERT_TRUE(attached(tasks, 3));
  for (std::uint64_t i = 1; i <= 300; ++i) ASSERT_TRUE(publish(tasks, i));
  ASSERT_TRUE(all_done(300)) << done_.size();
  for (const auto& [task, reports] : done_) {
    EXPECT_EQ(reports.size(), 1u) << task;
    EXPECT_FALSE(reports[0].redelivered) << task;
  }
  EXPECT_EQ(tasks_by_worker().size(), 3u);
  EXPECT_EQ(tasks.stats().overwritten, 0u);
}

TEST_F(GroupTest, WhatAKilledWorkerHadIsDoneByOthers) {
  for (int i = 0; i < 3; ++i) start_worker({.work = 2ms});
  Node master = node();
  Publisher tasks = advertise(master, 256);
  ASSERT_TRUE(attached(tasks, 3));
  for (std::uint64_t i = 1; i <= 200; ++i) ASSERT_TRUE(publish(tasks, i));
  // The publisher's thread does nothing from here on.
  ASSERT_FALSE(all_done(200, 50ms)) << "too late to kill somebody";
  kill_worker(workers_[1]);
  EXPECT_TRUE(all_done(200)) << done_.size();
  EXPECT_TRUE(attached(tasks, 2));
  expect_repeats_are_marked();
}

TEST_F(GroupTest, WhatTheLastWorkerHadIsDoneByTheNextOne) {
  start_worker({.work = 2ms});
  Node master = node();
  Publisher tasks = advertise(master, 64);
  ASSERT_TRUE(attached(tasks, 1));
  for (std::uint64_t i = 1; i <= 50; ++i) ASSERT_TRUE(publish(tasks, i));
  ASSERT_FALSE(all_done(50, 20ms));
  kill_worker(workers_[0]);
  ASSERT_TRUE(attached(tasks, 0));
  start_worker();
  EXPECT_TRUE(all_done(50)) << done_.size();
  expect_repeats_are_marked();
}

TEST_F(GroupTest, WorkersThatLeaveInOrderLeaveNothingBehind) {
  start_worker();
  for (unsigned i = 1; i <= 3; ++i) start_worker({.last = 5 * i});
  Node master = node();
  Publisher tasks = advertise(master, 64);
  ASSERT_TRUE(attached(tasks, 4));
  for (std::uint64_t i = 1; i <= 200; ++i) ASSERT_TRUE(publish(tasks, i));
  EXPECT_TRUE(all_done(200)) << done_.size();
  expect_repeats_are_marked();
}

TEST_F(GroupTest, AMemberThatLeavesWhileTheBrokerIsDownLeavesNothingBehind) {
  // Both are given four, and one leaves before it has done all of its own.
  start_worker({.work = 20ms});
  start_worker({.work = 20ms, .last = 3});
  Node master = node();
  Publisher tasks = advertise(master, 64);
  ASSERT_TRUE(attached(tasks, 2));
  const std::uint64_t first = get_going(tasks, 2);
  ASSERT_NE(first, 0u);
  broker_.kill(SIGKILL);
  for (std::uint64_t i = 1; i <= 8; ++i) ASSERT_TRUE(publish(tasks, first + i));
  EXPECT_TRUE(all_done(first + 8)) << done_.size();
  expect_repeats_are_marked();
}

// By looking every 100 ms alone this would take 15 s.
TEST_F(GroupTest, AnIdlePublisherGivesOutWhatWaited) {
  for (int i = 0; i < 2; ++i) start_worker({.credits = 2});
  Node master = node();
  Publisher tasks = advertise(master, 1024);
  ASSERT_TRUE(attached(tasks, 2));
  for (std::uint64_t i = 1; i <= 600; ++i) ASSERT_TRUE(publish(tasks, i));
  EXPECT_TRUE(all_done(600, 7s)) << done_.size();
}

TEST_F(GroupTest, ANodeWithoutAThreadGivesOutInDispatch) {
  for (int i = 0; i < 2; ++i) start_worker({.credits = 2});
  Node master = node(false);
  Publisher tasks = advertise(master, 256);
  ASSERT_TRUE(eventually(
      [&] {
        master.dispatch();
        return tasks.subscriber_count() == 2;
      },
      10s));
  for (std::uint64_t i = 1; i <= 200; ++i) ASSERT_TRUE(publish(tasks, i));
  EXPECT_TRUE(all_done(200, 10s, [&] { master.dispatch(); })) << done_.size();
}

TEST_F(GroupTest, GoesOnWhileTheBrokerIsDown) {
  for (int i = 0; i < 3; ++i) start_worker({.work = 1ms});
  Node master = node();
  Publisher tasks = advertise(master, 256);
  ASSERT_TRUE(attached(tasks, 3));
  const std::uint64_t first = get_going(tasks, 3);
  ASSERT_NE(first, 0u);
  broker_.kill(SIGKILL);
  for (std::uint64_t i = 1; i <= 200; ++i) ASSERT_TRUE(publish(tasks, first + i));
  kill_worker(workers_[2]);
  EXPECT_TRUE(all_done(first + 200)) << done_.size();
  expect_repeats_are_marked();
}

// The publisher is idle when it is told.
TEST_F(GroupTest, WhatAWorkerRejectsIsDoneByAnother) {
  start_worker({.reject_every = 1});
  start_worker();
  Node master = node();
  Publisher tasks = advertise(master, 64);
  ASSERT_TRUE(attached(tasks, 2));
  for (std::uint64_t i = 1; i <= 40; ++i) ASSERT_TRUE(publish(tasks, i));
  ASSERT_TRUE(all_done(40)) << done_.size();
  EXPECT_FALSE(rejected_.empty());
  for (const auto& [task, reports] : done_) {
    EXPECT_EQ(reports.size(), 1u) << task;
    EXPECT_EQ(reports[0].worker, 1u) << task;
    // More than once where the other one had no credit just then.
    EXPECT_EQ(reports[0].deliveries_before, std::min<std::size_t>(rejected_[task].size(), 255))
        << task;
  }
}

TEST_F(GroupTest, WhoIsKilledWhileItRejectsLosesNothing) {
  for (int i = 0; i < 4; ++i) start_worker({.work = 1ms, .reject_every = 3});
  Node master = node();
  Publisher tasks = advertise(master, 512);
  ASSERT_TRUE(attached(tasks, 4));
  for (std::uint64_t i = 1; i <= 400; ++i) ASSERT_TRUE(publish(tasks, i));
  ASSERT_FALSE(all_done(400, 40ms)) << "too late to kill somebody";
  kill_worker(workers_[1]);
  (void)all_done(400, 20ms);
  kill_worker(workers_[2]);
  EXPECT_TRUE(all_done(400)) << done_.size();
  expect_repeats_are_marked();
  EXPECT_FALSE(rejected_.empty());
}

// One worker, which is killed again and again while more and more tasks come.
TEST_F(GroupTest, ADurableGroupLosesNothingWhileItsOnlyMemberRestarts) {
  Node master = node();
  StreamOptions o;
  o.lanes = {{.depth = 16}};
  o.pools = {{64}};
  o.max_held = 64;
  o.full_timeout_ns = 20'000'000;
  auto made = master.advertise("tasks", o);
  ASSERT_TRUE(made);
  Publisher tasks = std::move(*made);
  std::uint64_t last = 0;
  for (std::uint64_t round = 1; round <= 6; ++round) {
    const pid_t worker = start_worker({.work = 1ms, .durable = true});
    ASSERT_TRUE(attached(tasks, 1));
    const std::uint64_t goal = last + 10;
    while (last < goal) {
      if (publish(tasks, last + 1)) ++last;
    }
    (void)all_done(last, 3ms * round);
    kill_worker(worker);
    ASSERT_TRUE(attached(tasks, 0));
    while (publish(tasks, last + 1)) ++last;  // until its place is full
  }
  EXPECT_GT(last, 60u);
  start_worker({.durable = true});
  EXPECT_TRUE(all_done(last)) << done_.size() << " of " << last;
  expect_repeats_are_marked();
  EXPECT_EQ(tasks.stats().dropped, 0u);
  EXPECT_EQ(tasks.stats().overwritten, 0u);
}

TEST_F(GroupTest, ADurableGroupIsForgottenAfterItsTimeByAnIdlePublisher) {
  Node master = node();
  StreamOptions o;
  o.lanes = {{.depth = 16}};
  o.pools = {{64}};
  o.max_held = 64;
  o.durable_keep_ns = 100'000'000;
  auto tasks = master.advertise("tasks", o);
  ASSERT_TRUE(tasks);
  const pid_t worker = start_worker({.durable = true});
  ASSERT_TRUE(attached(*tasks, 1));
  kill_worker(worker);
  ASSERT_TRUE(attached(*tasks, 0));
  ASSERT_TRUE(publish(*tasks, 1));
  EXPECT_TRUE(eventually([&] { return tasks->stats().dropped == 1; }, 10s));
}

TEST_F(GroupTest, OnlyGroupsCanBeDurable) {
  Node master = node();
  SubscriptionOptions options{.mode = DeliveryMode::reliable};
  options.durable = true;
  auto refused = master.subscribe("tasks", options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
}

TEST_F(GroupTest, AMonitorSeesWhatAWorkerSaysOfItself) {
  Node master = node();
  Publisher tasks = advertise(master, 16);
  auto worker = master.subscribe("tasks", {.mode = DeliveryMode::group, .group = "workers"});
  ASSERT_TRUE(worker);
  ASSERT_TRUE(attached(tasks, 1));
  ASSERT_TRUE(eventually([&] { return worker->stream_count() == 1; }));
  worker->tell_load(WorkerState::draining, 17);
  auto monitor = master.monitor();
  ASSERT_TRUE(monitor);
  EXPECT_TRUE(eventually([&] {
    const Snapshot all = monitor->snapshot();
    return all.subscriptions.size() == 1 && all.subscriptions[0].attachments.size() == 1 &&
           all.subscriptions[0].attachments[0].worker == WorkerState::draining &&
           all.subscriptions[0].attachments[0].worker_backlog == 17;
  }));
  // A stream that comes later is told as well, before it gives anything.
  Node other = node();
  Publisher more = advertise(other, 16);
  ASSERT_TRUE(attached(more, 1));
  ASSERT_TRUE(publish(more, 1));
  EXPECT_FALSE(worker->wait(Clock::now() + 50ms) == Outcome::ok && worker->take());
  worker->tell_load(WorkerState::ready, 0);
  EXPECT_TRUE(eventually([&] { return static_cast<bool>(worker->take()); }));
}

TEST_F(GroupTest, IsRefusedWithoutANameOrWhereItIsNotOffered) {
  Node master = node();
  auto nameless = master.subscribe("tasks", {.mode = DeliveryMode::group});
  ASSERT_FALSE(nameless);
  EXPECT_EQ(nameless.error().code, Errc::invalid_argument);
  StreamOptions o;
  o.pools = {{64}};
  o.offered.group = false;
  auto tasks = master.advertise("tasks", o);
  ASSERT_TRUE(tasks);
  auto monitor = master.monitor();
  ASSERT_TRUE(monitor);
  auto worker = master.subscribe("tasks", {.mode = DeliveryMode::group, .group = "workers"});
  ASSERT_TRUE(eventually([&] { return !monitor->snapshot().unfit.empty(); }));
  EXPECT_NE(monitor->snapshot().unfit[0].sentence.find("group"), std::string::npos);
}

}  // namespace
}  // namespace sluice::test
