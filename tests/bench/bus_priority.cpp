// What a flood of data does to control messages. One publisher, one subscriber in another process,
// both of the bus; 100 critical messages/s, and between them
//
//   alone   nothing: both sleep
//   flood   messages of low priority, as many as their lane takes: the publisher fills it as soon
//           as there is room, so that it is full when a critical message comes
//
// Latency runs from publish, by the message's own time stamp, until the message is taken; that of
// the flood's own messages, behind a full lane, is what back-pressure costs. Every message must
// arrive, in order of its lane.
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "tests/bench/broker.hpp"
#include "tests/bench/broker_cells.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/histogram.hpp"
#include "tests/bench/process.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>

namespace sluice::bench {
namespace {

constexpr const char* kTopic = "bench/priority";
constexpr std::uint64_t kPeriodNs = 10'000'000;
constexpr std::uint64_t kWarmUp = 10;
enum Value : std::size_t { kP50, kP90, kP95, kP99, kP999, kMax, kLow, kLowP50, kLowMax, kNs };

/// The subscriber, and what it has taken.
class Taking {
 public:
  explicit Taking(MessageSubscriber& subscriber) : subscriber_(subscriber) {}

  /// Until this many critical ones more have come.
  void take(std::uint64_t count, CrewRecord& record) {
    *latency_ = {};
    *low_latency_ = {};
    const std::uint64_t last = critical_ + kWarmUp + count;
    const std::uint64_t low = low_;
    const std::uint64_t from_ns = now_ns();
    while (critical_ < last) take_one(critical_ + count >= last);
    const auto whole = [&](double quantile) {
      return static_cast<std::uint64_t>(latency_->quantile_ns(quantile));
    };
    record.values[kP95].store(whole(0.95));
    record.values[kLowP50].store(static_cast<std::uint64_t>(low_latency_->quantile_ns(0.5)));
    record.values[kLowMax].store(low_latency_->max_ns());
    record.values[kP50].store(whole(0.5));
    record.values[kP90].store(whole(0.9));
    record.values[kP99].store(whole(0.99));
    record.values[kP999].store(whole(0.999));
    record.values[kMax].store(latency_->max_ns());
    record.values[kLow].store(low_ - low);
    record.values[kNs].store(now_ns() - from_ns);
  }

 private:
  void take_one(bool counts) {
    Message message =
        subscriber_.receive(std::chrono::steady_clock::now() + std::chrono::seconds{10});
    const std::uint64_t now = now_ns();
    if (!message) throw std::runtime_error(std::string("take: ") + to_string(message.outcome()));
    const bool critical = message.info().priority == Priority::critical;
    std::uint64_t& number = critical ? critical_ : low_;
    if (read_number(message.payload()) != ++number) {
      throw std::runtime_error("verification: not the next one of its lane");
    }
    // The clocks of two cores may differ by some ns.
    const std::uint64_t published = std::min(message.info().publish_ns, now);
    if (counts) (critical ? latency_ : low_latency_)->record(now - published);
    subscriber_.acknowledge(std::move(message));
  }

  MessageSubscriber& subscriber_;
  std::uint64_t critical_ = 0;
  std::uint64_t low_ = 0;
  const std::unique_ptr<Histogram> latency_ = std::make_unique<Histogram>();
  const std::unique_ptr<Histogram> low_latency_ = std::make_unique<Histogram>();
};

/// Arguments: socket, how many critical messages.
void play_taking(const CrewMember& me) {
  Node node = make_node("taking", me.arguments.at(0));
  MessageSubscriber subscriber = must(
      MessageSubscriber::create(node, kTopic, {.subscription = {.mode = DeliveryMode::reliable}}));
  while (subscriber.stream().stream_count() == 0) sleep_until_ns(now_ns() + 1'000'000);
  me.await(1);
  me.finish();
  Taking taking(subscriber);
  for (const std::uint32_t phase : {2U, 3U}) {
    me.await(phase);
    taking.take(std::stoull(me.arguments.at(1)), me.record());
    me.finish();
  }
  me.await(4);
  me.finish();
}

class Sending {
 public:
  explicit Sending(Node& node) : publisher_(must(MessagePublisher::create(node, kTopic, full()))) {}

  std::size_t subscribers() { return publisher_.stream().subscriber_count(); }

  void send(std::uint64_t count, bool flood) {
    std::uint64_t due_ns = now_ns();
    for (std::uint64_t i = 0; i < kWarmUp + count; ++i) {
      due_ns += kPeriodNs;
      while (flood && now_ns() < due_ns) fill();
      sleep_until_ns(due_ns);
      if (!publish(Priority::critical, critical_)) throw std::runtime_error("the lane is full");
    }
  }

 private:
  static MessagePublisherOptions full() {
    MessagePublisherOptions options;
    options.stream.on_full = OnFull::fail;
    return options;
  }
  void fill() {
    for (int i = 0; i < 16; ++i) {
      if (!publish(Priority::low, low_)) return;
    }
  }
  bool publish(Priority priority, std::uint64_t& number) {
    MessageLoan loan = publisher_.loan(kNumberBytes, {.priority = priority});
    if (!loan && loan.outcome() == Outcome::full) return false;
    if (!loan) throw std::runtime_error(std::string("loan: ") + to_string(loan.outcome()));
    write_number(loan.bytes(), number + 1);
    const Outcome outcome = publisher_.publish(std::move(loan));
    if (outcome == Outcome::ok) ++number;
    if (outcome != Outcome::ok && outcome != Outcome::full) {
      throw std::runtime_error(std::string("publish: ") + to_string(outcome));
    }
    return outcome == Outcome::ok;
  }

  MessagePublisher publisher_;
  std::uint64_t critical_ = 0;
  std::uint64_t low_ = 0;
};

/// Arguments: socket, how many critical messages.
void play_sending(const CrewMember& me) {
  Node node = make_node("sending", me.arguments.at(0));
  Sending sending(node);
  while (sending.subscribers() == 0) sleep_until_ns(now_ns() + 1'000'000);
  me.await(1);
  me.finish();
  for (const std::uint32_t phase : {2U, 3U}) {
    me.await(phase);
    sending.send(std::stoull(me.arguments.at(1)), phase == 3);
    me.finish();
  }
  me.await(4);  // the stream ends when all is taken
  me.finish();
}

}  // namespace

void add_priority_parts(CrewParts& parts) {
  parts["taking"] = play_taking;
  parts["sending"] = play_sending;
}

nlohmann::json measure_priority(const BrokerCell& cell) {
  const Broker broker(cell.directory);
  const auto seconds = std::clamp(cell.seconds * 10, 2.0, 20.0);
  const auto count = static_cast<std::uint64_t>(seconds * 1e9 / kPeriodNs);
  Crew crew;
  const std::vector<std::string> arguments{broker.socket(), std::to_string(count)};
  const std::size_t taking = crew.add("taking", arguments);
  crew.add("sending", arguments);
  crew.step(20);
  nlohmann::json result{{"messages", count}};
  for (const std::string name : {"alone", "flood"}) {
    crew.step(seconds * 2 + 20);
    const auto us = [&](Value value) {
      return static_cast<double>(crew.record(taking).values[value].load()) / 1e3;
    };
    result[name + "_us_p50"] = us(kP50);
    result[name + "_us_p90"] = us(kP90);
    result[name + "_us_p95"] = us(kP95);
    result[name + "_us_p99"] = us(kP99);
    result[name + "_us_p999"] = us(kP999);
    result[name + "_us_max"] = us(kMax);
    result[name + "_per_second"] = us(kLow) * 1e9 / us(kNs);
    if (name != "flood") continue;
    result["full_us_p50"] = us(kLowP50);
    result["full_us_max"] = us(kLowMax);
  }
  if (result["flood_per_second"].get<double>() < 1'000) {
    throw std::runtime_error("verification: there was no flood");
  }
  for (const std::string at : {"p50", "p99"}) {
    result["ratio_" + at] =
        result["flood_us_" + at].get<double>() / result["alone_us_" + at].get<double>();
  }
  crew.step(20);
  crew.join(5);
  return result;
}

}  // namespace sluice::bench
