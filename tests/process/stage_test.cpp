// Stages with a real broker: what a handler does with a message, and what its neighbours see of it.
#include "sluice/stage.hpp"

#include "sluice/correlation.hpp"
#include "sluice/results.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/must.hpp"

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/wait.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

StreamOptions numbers(std::uint32_t references = 0) {
  StreamOptions o;
  o.pools = {{64}};
  o.max_held = 64;
  o.max_references = references;
  return o;
}

Node node_at(const std::string& socket, const std::string& name) {
  NodeOptions o;
  o.name = name;
  o.socket = socket;
  return must(Node::create(std::move(o)));
}

bool publish(Publisher& publisher, std::uint64_t number, const Headers& headers = {}) {
  Loan loan = publisher.loan(sizeof number);
  if (!loan) return false;
  std::memcpy(loan.data(), &number, sizeof number);
  loan.headers = headers;
  return publisher.publish(std::move(loan)) == Outcome::ok;
}

std::uint64_t number_in(const Sample& sample) {
  std::uint64_t number = 0;
  if (sample.size() >= sizeof number) std::memcpy(&number, sample.data(), sizeof number);
  return number;
}

// The next message, or an empty sample when none comes.
Sample take(Subscriber& subscriber, std::chrono::milliseconds patience = 10s) {
  const Deadline until = Clock::now() + patience;
  for (;;) {
    Sample sample = subscriber.take();
    if (sample || subscriber.wait(until) == Outcome::timeout) return sample;
  }
}

bool attached(Publisher& publisher, std::size_t count = 1) {
  return eventually([&] { return publisher.subscriber_count() == count; });
}

// What a stage logs, from any thread.
class Lines {
 public:
  auto writer() {
    return [this](LogLevel, std::string_view text) {
      const std::lock_guard lock{mutex_};
      lines_.emplace_back(text);
    };
  }
  [[nodiscard]] std::vector<std::string> all() const {
    const std::lock_guard lock{mutex_};
    return lines_;
  }
  [[nodiscard]] std::size_t with(const std::string& part) const {
    std::size_t count = 0;
    for (const std::string& line : all()) count += line.find(part) != std::string::npos;
    return count;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

class StageTest : public testing::Test {
 protected:
  StageOptions options(const std::string& name, SubscriptionOptions input = {}) {
    StageOptions o;
    o.name = name;
    o.socket = broker_.socket();
    o.inputs = {{"in", input}};
    return o;
  }
  Node node(const std::string& name) { return node_at(broker_.socket(), name); }

  BrokerProcess broker_{SLUICE_SLUICED};
};

Result<void> nothing(Job&) { return {}; }

TEST_F(StageTest, CarriesCorrelationAndOriginOnAndLeavesASpan) {
  Node tester = node("tester");
  Publisher in = must(tester.advertise("in", numbers()));
  Subscriber out = must(tester.subscribe("out"));
  auto spans = must(SubscriberOf<TraceSpan>::create(tester, trace_topic("doubler")));
  StageOptions o = options("doubler");
  o.outputs = {{"out", numbers()}};
  Stage stage = must(Stage::create(std::move(o), [](Job& job) -> Result<void> {
    Loan loan = job.loan(8);
    if (!loan) return Error{Errc::exhausted, 0, "no loan"};
    const std::uint64_t twice = 2 * number_in(job.input());
    std::memcpy(loan.data(), &twice, sizeof twice);
    (void)job.publish(std::move(loan));
    return {};
  }));
  ASSERT_TRUE(attached(in));
  ASSERT_TRUE(attached(stage.output()));
  ASSERT_TRUE(eventually([&] { return spans.untyped().stream_count() == 1; }));

  const CorrelationId id = new_correlation_id();
  ASSERT_TRUE(publish(in, 21, {.correlation = id, .origin_ns = 1'234}));
  ASSERT_EQ(stage.step(Clock::now() + 10s), 1u);
  const Sample result = take(out);
  ASSERT_TRUE(result);
  EXPECT_EQ(number_in(result), 42u);
  EXPECT_EQ(result.info().correlation, id);
  EXPECT_EQ(result.info().origin_ns, 1'234u);

  const SampleOf<TraceSpan> span{take(spans.untyped())};
  ASSERT_TRUE(span);
  ASSERT_TRUE(valid(*span));
  EXPECT_EQ(span->correlation, id);
  EXPECT_EQ(span->origin_ns, 1'234u);
  EXPECT_EQ(span->end, SpanEnd::done);
  EXPECT_EQ(text_of(span->stage), "doubler");
  EXPECT_EQ(text_of(span->topic), "in");
  EXPECT_EQ(span->pid, static_cast<std::uint32_t>(::getpid()));
  EXPECT_EQ(span->input.stream_id, in.stream_id());
  EXPECT_EQ(span->output, result.reference());
  EXPECT_GT(span->input_ns, 1'234u);
  EXPECT_GE(span->taken_ns, span->input_ns);
  EXPECT_GE(span->output_ns, span->taken_ns);
  EXPECT_GE(span->done_ns, span->output_ns);

  // What has no id gets one, the same in the result and the span.
  ASSERT_TRUE(publish(in, 1));
  ASSERT_EQ(stage.step(Clock::now() + 10s), 1u);
  const Sample second = take(out);
  const SampleOf<TraceSpan> of_second{take(spans.untyped())};
  ASSERT_TRUE(second && of_second);
  EXPECT_NE(second.info().correlation, CorrelationId{});
  EXPECT_EQ(of_second->correlation, second.info().correlation);
}

TEST_F(StageTest, AHandlerThatFailsLosesItsMessageAndNoOther) {
  Node tester = node("tester");
  Publisher in = must(tester.advertise("in", numbers()));
  auto spans = must(SubscriberOf<TraceSpan>::create(tester, trace_topic("shaky"), {.max_held = 8}));
  Lines lines;
  StageOptions o = options("shaky", {.mode = DeliveryMode::reliable});
  o.log = lines.writer();
  std::vector<std::uint64_t> seen;
  Stage stage = must(Stage::create(std::move(o), [&](Job& job) -> Result<void> {
    const std::uint64_t number = number_in(job.input());
    seen.push_back(number);
    if (number == 2) throw std::runtime_error("two is too much");
    if (number == 3) throw 3;
    if (number == 4) return Error{Errc::untrusted, 0, "four is refused"};
    if (number == 5) job.skip();
    return {};
  }));
  ASSERT_TRUE(attached(in));
  ASSERT_TRUE(eventually([&] { return spans.untyped().stream_count() == 1; }));
  EXPECT_EQ(stage.health().status, HealthStatus::starting);
  for (std::uint64_t i = 1; i <= 6; ++i) ASSERT_TRUE(publish(in, i));
  while (seen.size() < 6) ASSERT_NE(stage.step(Clock::now() + 10s), 0u);
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6}));

  const Health health = stage.health();
  EXPECT_EQ(health.handled, 2u);
  EXPECT_EQ(health.failed, 3u);
  EXPECT_EQ(health.skipped, 1u);
  EXPECT_EQ(text_of(health.last_error), "four is refused");
  EXPECT_EQ(text_of(health.node), "shaky");
  EXPECT_EQ(stage.input().stats().acknowledged, 6u) << "lost is not to be had again";
  EXPECT_EQ(lines.with("a message of 'in' was lost: an exception: two is too much"), 1u);

  std::vector<SpanEnd> ends;
  for (int i = 0; i < 6; ++i) ends.push_back(SampleOf<TraceSpan> { take(spans.untyped()) } -> end);
  EXPECT_EQ(ends, (std::vector{SpanEnd::done, SpanEnd::failed, SpanEnd::failed, SpanEnd::failed,
                               SpanEnd::skipped, SpanEnd::done}));
}

TEST_F(StageTest, ManyErrorsAreFewLines) {
  Node tester = node("tester");
  Publisher in = must(tester.advertise("in", numbers()));
  Lines lines;
  StageOptions o = options("shaky", {.mode = DeliveryMode::reliable});
  o.log = lines.writer();
  o.trace = false;
  Stage stage = must(Stage::create(std::move(o), [](Job&) -> Result<void> {
    return Error{Errc::system, 0, "always\n\xff"};
  }));
  ASSERT_TRUE(attached(in));
  constexpr std::uint64_t kErrors = 2'000;
  for (std::uint64_t i = 0; i < kErrors; ++i) {
    ASSERT_TRUE(publish(in, i));
    ASSERT_EQ(stage.step(Clock::now() + 10s), 1u);
  }
  EXPECT_EQ(stage.health().failed, kErrors);
  EXPECT_EQ(text_of(stage.health().last_error), "always ?") << "a line, and readable";
  // The rest is told of within the next second, with nothing else happening.
  ASSERT_TRUE(eventually([&] {
    (void)stage.step(Clock::now() + 50ms);
    return lines.with("more since the last such line") != 0;
  }));
  EXPECT_LT(lines.with("was lost"), kErrors / 10);
}

TEST_F(StageTest, StatusFollowsWhatHappensAndIsRetained) {
  Node tester = node("tester");
  Publisher in = must(tester.advertise("in", numbers()));
  StageOptions o = options("moody", {.mode = DeliveryMode::reliable});
  o.health_interval = 20ms;
  std::optional<Stage> stage = must(Stage::create(std::move(o), [](Job& job) -> Result<void> {
    if (number_in(job.input()) == 0) return Error{Errc::system, 0, "zero"};
    return {};
  }));
  ASSERT_TRUE(attached(in));
  // Somebody who comes now sees how it is.
  auto late = must(SubscriberOf<Health>::create(tester, health_topic("moody"), {.history = 1}));
  const SampleOf<Health> first{take(late.untyped())};
  ASSERT_TRUE(first && valid(*first));
  EXPECT_EQ(first->status, HealthStatus::starting);
  EXPECT_EQ(text_of(first->node), "moody");

  const auto step = [&](std::uint64_t number) {
    ASSERT_TRUE(publish(in, number));
    ASSERT_EQ(stage->step(Clock::now() + 10s), 1u);
  };
  step(1);
  EXPECT_EQ(stage->health().status, HealthStatus::healthy);
  step(0);
  EXPECT_EQ(stage->health().status, HealthStatus::degraded);
  step(0);
  step(0);
  EXPECT_EQ(stage->health().status, HealthStatus::failing);
  step(1);
  EXPECT_NE(stage->health().status, HealthStatus::failing);
  EXPECT_TRUE(eventually([&] {
    (void)stage->step(Clock::now() + 5ms);
    return stage->health().status == HealthStatus::healthy;
  }));
  stage.reset();
  HealthStatus last{};
  std::set<HealthStatus> seen;
  while (const SampleOf<Health> record{take(late.untyped(), 200ms)}) {
    last = record->status;
    seen.insert(last);
  }
  EXPECT_EQ(last, HealthStatus::stopping);
}

TEST_F(StageTest, ABusyInputDoesNotStarveTheOthers) {
  Node tester = node("tester");
  Publisher busy = must(tester.advertise("busy", numbers()));
  Publisher quiet = must(tester.advertise("quiet", numbers()));
  StageOptions o = options("fair");
  o.inputs = {{"busy", {}}, {"quiet", {}}};
  std::vector<std::string> order;
  Stage stage = must(Stage::create(std::move(o), [&](Job& job) -> Result<void> {
    order.emplace_back(job.topic());
    EXPECT_EQ(job.input_index(), job.topic() == "busy" ? 0u : 1u);
    return {};
  }));
  // A publisher counts who is on its way; both have to be there when the first is handled.
  ASSERT_TRUE(eventually(
      [&] { return stage.input(0).stream_count() == 1 && stage.input(1).stream_count() == 1; }));
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(publish(busy, 1));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(publish(quiet, 2));
  while (order.size() < 65) ASSERT_NE(stage.step(Clock::now() + 10s), 0u);
  EXPECT_EQ(std::count(order.begin(), order.begin() + 10, "quiet"), 5);
}

TEST_F(StageTest, StepEndsAlthoughMoreComes) {
  Node tester = node("tester");
  Publisher in = must(tester.advertise("in", numbers()));
  std::uint64_t handled = 0;
  Stage stage = must(Stage::create(options("endless"), [&](Job&) -> Result<void> {
    ++handled;
    EXPECT_TRUE(publish(in, 1)) << "one comes for each that is handled";
    return {};
  }));
  ASSERT_TRUE(attached(in));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(publish(in, 1));
  EXPECT_EQ(stage.step(Clock::now() + 10s), 3u);
  EXPECT_EQ(handled, 3u);
}

// A camera, a detector that attaches the frame, a recognizer that looks at its pixels.
TEST_F(StageTest, ReferencesLeadToTheOriginalAndAQuietStageHoldsNothing) {
  Node tester = node("camera");
  StreamOptions frames = numbers();
  frames.pools = {{4'096}};
  Publisher camera = must(tester.advertise("camera/front/frames", frames));

  StageOptions detect;
  detect.name = "detect";
  detect.socket = broker_.socket();
  detect.inputs = {{"camera/front/frames", {.max_held = 12}}};
  detect.outputs = {{"detect/front/objects", numbers(1)}};
  Stage detector = must(Stage::create(std::move(detect), [](Job& job) -> Result<void> {
    const Reference reference = job.input().reference();
    const auto bytes = std::as_bytes(std::span{&reference, 1});
    const Outcome outcome = job.publish(bytes, job.take_input());
    EXPECT_EQ(outcome, Outcome::ok);
    EXPECT_FALSE(job.input());
    return {};
  }));
  StageOptions recognize;
  recognize.name = "recognize";
  recognize.socket = broker_.socket();
  recognize.inputs = {{"detect/+/objects", {}}};
  recognize.references = {"camera/+/frames"};
  std::vector<std::uint64_t> pixels;
  Stage recognizer = must(Stage::create(std::move(recognize), [&](Job& job) -> Result<void> {
    Reference reference;
    std::memcpy(&reference, job.input().data(), sizeof reference);
    const Sample frame = job.resolve(reference);
    if (!frame) return Error{Errc::refused, 0, to_string(frame.outcome())};
    EXPECT_EQ(frame.size(), 4'096u);
    pixels.push_back(number_in(frame));
    Reference nobodys = reference;
    nobodys.stream_id ^= 1;
    EXPECT_EQ(job.resolve(nobodys).outcome(), Outcome::mismatch);
    return {};
  }));
  ASSERT_TRUE(attached(camera, 2));
  ASSERT_TRUE(attached(detector.output()));

  for (std::uint64_t i = 1; i <= 10; ++i) {
    Loan frame = camera.loan(4'096);
    ASSERT_TRUE(frame);
    std::memcpy(frame.data(), &i, sizeof i);
    ASSERT_EQ(camera.publish(std::move(frame)), Outcome::ok);
    ASSERT_EQ(detector.step(Clock::now() + 10s), 1u);
  }
  EXPECT_EQ(detector.input().stats().held, 10u) << "by results that were not taken yet";
  while (pixels.size() < 10) ASSERT_NE(recognizer.step(Clock::now() + 10s), 0u);
  for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(pixels[i], i + 1);
  EXPECT_EQ(recognizer.health().failed, 0u);
  // Nothing is published any more.
  EXPECT_TRUE(eventually([&] {
    (void)detector.step(Clock::now() + 20ms);
    return detector.input().stats().held == 0;
  }));
}

TEST_F(StageTest, AResultWithoutRoomIsCountedOnce) {
  Node tester = node("tester");
  Publisher in = must(tester.advertise("in", numbers()));
  StageOptions o = options("wordy");
  o.outputs = {{"out", numbers()}};
  Outcome by_hand{};
  Outcome at_once{};
  Stage stage = must(Stage::create(std::move(o), [&](Job& job) -> Result<void> {
    by_hand = job.publish(job.loan(1'000));
    at_once = job.publish(std::vector<std::byte>(1'000), {});
    job.note_copy();
    return {};
  }));
  ASSERT_TRUE(attached(in));
  ASSERT_TRUE(publish(in, 1));
  ASSERT_EQ(stage.step(Clock::now() + 10s), 1u);
  EXPECT_EQ(by_hand, Outcome::too_large);
  EXPECT_EQ(at_once, Outcome::too_large);
  const Health health = stage.health();
  EXPECT_EQ(health.no_room, 2u);
  EXPECT_EQ(health.published, 0u);
  EXPECT_EQ(health.copies, 1u);
  EXPECT_EQ(health.handled, 1u);
  EXPECT_EQ(health.status, HealthStatus::degraded);
}

TEST_F(StageTest, WhatAGroupsMemberGaveAwayOrFailedAtIsAcknowledged) {
  Node tester = node("tester");
  StreamOptions tasks = numbers();
  tasks.lanes = {{.depth = 4}};
  tasks.on_full = OnFull::fail;
  Publisher in = must(tester.advertise("in", tasks));
  StageOptions o = options(
      "worker", {.mode = DeliveryMode::group, .max_held = 16, .group = "workers", .credits = 4});
  o.outputs = {{"out", numbers(1)}};
  std::vector<std::uint64_t> seen;
  Stage stage = must(Stage::create(std::move(o), [&](Job& job) -> Result<void> {
    const std::uint64_t number = number_in(job.input());
    seen.push_back(number);
    if (number % 3 == 0) throw std::runtime_error("every third");
    if (number % 3 == 1) {
      EXPECT_EQ(job.publish(std::as_bytes(std::span{&number, 1}), job.take_input()), Outcome::ok);
    }
    return {};
  }));
  ASSERT_TRUE(attached(in));
  for (std::uint64_t i = 1; i <= 60; ++i) {
    ASSERT_TRUE(publish(in, i)) << "not acknowledged, " << i;
    ASSERT_EQ(stage.step(Clock::now() + 10s), 1u);
  }
  EXPECT_EQ(seen.size(), 60u);
  EXPECT_EQ(stage.input().stats().acknowledged, 60u);
}

TEST_F(StageTest, TooManyHeldSamplesAreWaitedForAndToldOf) {
  Node tester = node("tester");
  Publisher in = must(tester.advertise("in", numbers()));
  Lines lines;
  StageOptions o = options("hoarder", {.max_held = 2});
  o.log = lines.writer();
  std::vector<Sample> kept;
  std::uint64_t handled = 0;
  Stage stage = must(Stage::create(std::move(o), [&](Job& job) -> Result<void> {
    ++handled;
    kept.push_back(job.take_input());
    return {};
  }));
  ASSERT_TRUE(attached(in));
  for (std::uint64_t i = 1; i <= 3; ++i) ASSERT_TRUE(publish(in, i));
  while (handled < 2) ASSERT_NE(stage.step(Clock::now() + 10s), 0u);
  EXPECT_EQ(stage.step(Clock::now() + 20ms), 0u);
  EXPECT_EQ(lines.with("max_held"), 1u);
  kept.clear();
  EXPECT_EQ(stage.step(Clock::now() + 10s), 1u);
}

TEST_F(StageTest, StopEndsASleepingStage) {
  for (const bool several : {false, true}) {
    StageOptions o = options("sleeper");
    if (several) o.inputs.push_back({"another", {}});
    o.health_interval = std::chrono::hours{1};
    Node tester = node("tester");
    Publisher in = must(tester.advertise("in", numbers()));
    Stage stage = must(Stage::create(std::move(o), nothing));
    ASSERT_TRUE(attached(in));
    auto monitor = must(tester.monitor("in"));
    std::thread runner{[&] { EXPECT_TRUE(stage.run()); }};
    EXPECT_TRUE(eventually([&] {
      for (const SubscriptionInfo& s : monitor.snapshot().subscriptions) {
        for (const AttachmentInfo& a : s.attachments) {
          if (a.asleep) return true;
        }
      }
      return false;
    }));
    stage.stop();
    runner.join();  // or the test never ends
    EXPECT_EQ(stage.health().status, HealthStatus::stopping);
  }
}

Stage* stage_of_child = nullptr;

TEST_F(StageTest, ASignalHandlerMayStopIt) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    Stage stage = must(Stage::create(options("sleeper"), nothing));
    stage_of_child = &stage;
    ::signal(SIGTERM, [](int) { stage_of_child->stop(); });
    if (::write(ready[1], "x", 1) != 1) ::_exit(2);
    const auto ended = stage.run();
    ::_exit(ended ? 0 : 3);
  }
  char c = 0;
  ASSERT_EQ(::read(ready[0], &c, 1), 1);
  std::this_thread::sleep_for(20ms);  // most likely asleep by now; either way it must end
  ::kill(child, SIGTERM);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(StageTest, GoesOnWhileTheBrokerIsDownAndIsKnownToTheNextOne) {
  Node tester = node("tester");
  Publisher in = must(tester.advertise("in", numbers()));
  Subscriber out = must(tester.subscribe("out"));
  StageOptions o = options("steady");
  o.outputs = {{"out", numbers()}};
  Stage stage = must(Stage::create(std::move(o), [](Job& job) -> Result<void> {
    (void)job.publish(job.input().bytes(), {});
    return {};
  }));
  ASSERT_TRUE(attached(in));
  ASSERT_TRUE(attached(stage.output()));
  std::thread runner{[&] { EXPECT_TRUE(stage.run()); }};
  ASSERT_TRUE(publish(in, 7));
  EXPECT_EQ(number_in(take(out)), 7u) << "both ends know of it";
  broker_.kill(SIGKILL);
  for (std::uint64_t i = 1; i <= 20; ++i) {
    ASSERT_TRUE(publish(in, i));
    EXPECT_EQ(number_in(take(out)), i);
  }
  broker_.start();
  Node late = node("late");
  auto health = must(SubscriberOf<Health>::create(late, health_topic("steady"), {.history = 1}));
  Subscriber out2 = must(late.subscribe("out"));
  const SampleOf<Health> record{take(health.untyped())};
  ASSERT_TRUE(record);
  EXPECT_EQ(record->pid, static_cast<std::uint32_t>(::getpid()));
  ASSERT_TRUE(eventually([&] { return out2.stream_count() == 1; }));
  ASSERT_TRUE(publish(in, 99));
  EXPECT_EQ(number_in(take(out2)), 99u);
  stage.stop();
  runner.join();
}

TEST_F(StageTest, ARightThatIsTakenAwayEndsIt) {
  const std::string config = broker_.folder() + "/policy.toml";
  std::ofstream{config} << "";
  BrokerProcess broker{SLUICE_SLUICED, {"--config", config}};
  StageOptions o = options("outcast");
  o.socket = broker.socket();
  Stage stage = must(Stage::create(std::move(o), nothing));
  Node tester = node_at(broker.socket(), "tester");
  Publisher in = must(tester.advertise("in", numbers()));
  ASSERT_TRUE(attached(in));
  std::ofstream{config} << "[[deny]]\nnode = \"outcast\"\neverybody = true\n"
                           "actions = \"subscribe\"\nfilters = \"in\"\n";
  Result<void> ended;
  std::thread runner{[&] { ended = stage.run(); }};
  ::kill(broker.pid(), SIGHUP);
  runner.join();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, Errc::refused);
  EXPECT_NE(ended.error().message.find("'in'"), std::string::npos) << ended.error().message;
}

TEST_F(StageTest, WhatCannotBeAStageSaysWhy) {
  const auto expect_refused = [](StageOptions o, Stage::Handler handler, const std::string& why) {
    const auto stage = Stage::create(std::move(o), std::move(handler));
    ASSERT_FALSE(stage) << why;
    EXPECT_EQ(stage.error().code, Errc::invalid_argument);
    EXPECT_NE(stage.error().message.find(why), std::string::npos) << stage.error().message;
  };
  expect_refused(options(""), nothing, "name");
  StageOptions none = options("x");
  none.inputs.clear();
  expect_refused(std::move(none), nothing, "input");
  expect_refused(options("x"), {}, "handler");
  StageOptions wild = options("x");
  wild.outputs = {{"a/+/b", numbers()}};
  expect_refused(std::move(wild), nothing, "+");
  expect_refused(options("a/#"), nothing, "#");
}

TEST_F(StageTest, NobodyMayHoldAStageUpByItsRecords) {
  Node tester = node("tester");
  Stage stage = must(Stage::create(options("watched"), nothing));
  auto monitor = must(tester.monitor());
  Subscriber a = must(tester.subscribe(trace_topic("watched"), {.mode = DeliveryMode::reliable}));
  Subscriber b = must(tester.subscribe(health_topic("watched"), {.mode = DeliveryMode::reliable}));
  EXPECT_TRUE(eventually([&] { return monitor.snapshot().unfit.size() == 2; }));
}

// --- workers that share a camera -----------------------------------------------------------------

struct Report {
  std::uint32_t worker = 0;
  std::uint32_t redelivered = 0;
  std::uint64_t number = 0;
};

int be_worker(const std::string& socket, int pipe, std::uint32_t number) {
  StageOptions o;
  o.name = "worker-" + std::to_string(number);
  o.socket = socket;
  o.inputs = {{"in", {.mode = DeliveryMode::group, .group = "workers", .credits = 2}}};
  auto stage = Stage::create(std::move(o), [&](Job& job) -> Result<void> {
    const Report report{number, job.input().info().redelivered, number_in(job.input())};
    if (::write(pipe, &report, sizeof report) != sizeof report) ::_exit(4);
    std::this_thread::sleep_for(1ms);
    return {};
  });
  if (!stage) return 2;
  return stage->run() ? 0 : 3;
}

TEST_F(StageTest, OfTwoWorkersOneIsKilledAndTheOtherGoesOn) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  std::vector<pid_t> workers;
  for (std::uint32_t i = 0; i < 2; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::_exit(be_worker(broker_.socket(), ends[1], i));
    }
    workers.push_back(child);
  }
  Node tester = node("camera");
  StreamOptions frames = numbers();
  frames.lanes = {{.depth = 4}};
  frames.on_full = OnFull::drop;
  frames.offered.reliable = false;
  Publisher in = must(tester.advertise("in", frames));
  ASSERT_TRUE(attached(in, 2));

  std::map<std::uint64_t, std::vector<Report>> done;
  std::map<std::uint32_t, std::uint64_t> by_worker;
  const auto read_reports = [&](int patience_ms) {
    pollfd p{ends[0], POLLIN, 0};
    while (::poll(&p, 1, patience_ms) == 1) {
      Report report;
      ASSERT_EQ(::read(ends[0], &report, sizeof report), static_cast<ssize_t>(sizeof report));
      done[report.number].push_back(report);
      ++by_worker[report.worker];
      patience_ms = 0;
    }
  };
  // The camera never waits, whatever its workers do.
  std::uint64_t last = 0;
  const auto shoot_until = [&](auto enough) {
    return eventually([&] {
      EXPECT_TRUE(publish(in, ++last)) << last;
      read_reports(1);
      return enough();
    });
  };
  auto monitor = must(tester.monitor("in"));
  std::map<std::uint64_t, std::uint64_t> lost;  // by member, also by the dead one
  const auto look = [&] {
    for (const SubscriptionInfo& subscription : monitor.snapshot().subscriptions) {
      for (const AttachmentInfo& attachment : subscription.attachments) {
        lost[subscription.id] = attachment.stats.lost();
      }
    }
  };
  ASSERT_TRUE(shoot_until([&] { return by_worker[0] >= 20 && by_worker[1] >= 20; }));
  look();
  ::kill(workers[0], SIGKILL);
  ::waitpid(workers[0], nullptr, 0);
  const std::uint64_t killed_at = last;
  ASSERT_TRUE(shoot_until([&] {
    return in.subscriber_count() == 1 && !done.empty() && done.rbegin()->first > killed_at + 50;
  }));
  read_reports(500);
  for (const auto& [number, reports] : done) {
    EXPECT_LE(reports.size(), 2u) << number;
    for (std::size_t i = 1; i < reports.size(); ++i) EXPECT_TRUE(reports[i].redelivered) << number;
  }
  // Each one was done, or nobody had a credit for it, or a member counts it as lost: what it was
  // given and did not take in time is given up as well. Of the dead member two may be missing that
  // it had, and two that it had lost without having noticed.
  EXPECT_LE(done.size() + in.stats().dropped, last);
  look();
  std::uint64_t lost_in_all = 0;
  for (const auto& [member, count] : lost) lost_in_all += count;
  EXPECT_GE(done.size() + in.stats().dropped + lost_in_all + 4, last);
  ::kill(workers[1], SIGKILL);
  ::waitpid(workers[1], nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace sluice::test
