// What 10,000 messages/s of the bus cost: a publisher and a subscriber in processes of their own,
// 64 B, reliable and acknowledged, everybody asleep in between.
//
//   even     one message every 100 µs: a timer, a wake-up and a sleep for each
//   bursts   ten messages every millisecond, as what comes from a loop does
//   typical  1,000 messages/s, one by one: what a system of this size has on an ordinary day
//   timer    no message: what it costs the publisher to sleep until the next one would be due
//
// The figure is the user and system time of both processes, all their threads, in percent of one
// core; sleeping until the next message is due is part of it. The broker's is a figure of its own.
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "tests/bench/broker.hpp"
#include "tests/bench/broker_cells.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/process.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <stdexcept>

namespace sluice::bench {
namespace {

constexpr const char* kTopic = "bench/load";
constexpr std::size_t kBytes = 64;
constexpr std::uint64_t kRate = 10'000;

constexpr std::uint32_t kWarm = 2;  // the phases, from here on
constexpr std::uint32_t kEven = 3;
constexpr std::uint32_t kBursts = 4;
constexpr std::uint32_t kTypical = 5;
constexpr std::uint32_t kTimer = 6;

/// Arguments: socket, messages of a phase, of the warm-up.
std::uint64_t messages_in(const CrewMember& me, std::uint32_t phase) {
  const std::uint64_t messages = std::stoull(me.arguments.at(phase == kWarm ? 2 : 1));
  return phase == kTypical ? messages / 10 : messages;
}

void play_steady(const CrewMember& me) {
  Node node = make_node("steady", me.arguments.at(0));
  MessagePublisher publisher = must(MessagePublisher::create(node, kTopic));
  while (publisher.stream().subscriber_count() == 0) sleep_until_ns(now_ns() + 1'000'000);
  me.await(1);
  me.finish();
  std::uint64_t number = 0;
  std::array<std::byte, kBytes> payload{};
  for (const std::uint32_t phase : {kWarm, kEven, kBursts, kTypical, kTimer}) {
    me.await(phase);
    const std::uint64_t burst = phase == kBursts ? 10 : 1;
    const std::uint64_t rate = phase == kTypical ? kRate / 10 : kRate;
    const std::uint64_t last = number + messages_in(me, phase);
    std::uint64_t due_ns = now_ns();
    for (std::uint64_t i = number; phase == kTimer && i < last; ++i) {
      sleep_until_ns(due_ns += 1'000'000'000 / kRate);
    }
    if (phase == kTimer) {
      me.finish();
      break;
    }
    while (number < last) {
      sleep_until_ns(due_ns += burst * 1'000'000'000 / rate);
      for (std::uint64_t i = 0; i < burst; ++i) {
        write_number(std::span{payload}.first(kNumberBytes), ++number);
        const Outcome outcome = publisher.publish(payload);
        if (outcome != Outcome::ok) {
          throw std::runtime_error(std::string("publish: ") + to_string(outcome));
        }
      }
    }
    me.finish();
  }
  me.await(kTimer + 1);
  me.finish();
}

void play_asleep(const CrewMember& me) {
  Node node = make_node("asleep", me.arguments.at(0));
  MessageSubscriber subscriber = must(
      MessageSubscriber::create(node, kTopic, {.subscription = {.mode = DeliveryMode::reliable}}));
  while (subscriber.stream().stream_count() == 0) sleep_until_ns(now_ns() + 1'000'000);
  me.await(1);
  me.finish();
  std::uint64_t number = 0;
  for (const std::uint32_t phase : {kWarm, kEven, kBursts, kTypical}) {
    me.await(phase);
    for (const std::uint64_t last = number + messages_in(me, phase); number < last;) {
      Message message =
          subscriber.receive(std::chrono::steady_clock::now() + std::chrono::seconds{10});
      if (!message) throw std::runtime_error(std::string("take: ") + to_string(message.outcome()));
      if (message.payload().size() != kBytes ||
          read_number(message.payload().first(kNumberBytes)) != ++number) {
        throw std::runtime_error("verification: not the next one");
      }
      subscriber.acknowledge(std::move(message));
    }
    me.finish();
  }
  me.await(kTimer);
  me.finish();
  me.await(kTimer + 1);
  me.finish();
}

}  // namespace

void add_load_parts(CrewParts& parts) {
  parts["steady"] = play_steady;
  parts["asleep"] = play_asleep;
}

nlohmann::json measure_load(const BrokerCell& cell) {
  const Broker broker(cell.directory);
  const double seconds = std::clamp(cell.seconds * 5, 2.0, 10.0);
  const auto count = static_cast<std::uint64_t>(seconds * kRate) / 10 * 10;
  Crew crew;
  const std::vector<std::string> arguments{broker.socket(), std::to_string(count),
                                           std::to_string(kRate / 5)};
  crew.add("steady", arguments);
  crew.add("asleep", arguments);
  const std::vector<pid_t> pids = crew.pids();
  crew.step(20);
  crew.step(20);
  nlohmann::json result{{"messages", count}};
  for (const std::string name : {"even", "bursts", "typical", "timer"}) {
    const std::array<std::uint64_t, 3> before{cpu_time_ns(pids[0]), cpu_time_ns(pids[1]),
                                              cpu_time_ns(broker.pid())};
    const std::uint64_t from_ns = now_ns();
    crew.step(seconds * 2 + 20);
    const auto wall_ns = static_cast<double>(now_ns() - from_ns);
    const auto percent = [&](pid_t pid, std::uint64_t ns) {
      return static_cast<double>(cpu_time_ns(pid) - ns) * 100 / wall_ns;
    };
    const double publisher = percent(pids[0], before[0]);
    const double subscriber = percent(pids[1], before[1]);
    result[name + "_publisher_percent"] = publisher;
    result[name + "_subscriber_percent"] = subscriber;
    result[name + "_percent"] = publisher + subscriber;
    result[name + "_broker_percent"] = percent(broker.pid(), before[2]);
    if (wall_ns > 1.1e9 * seconds)
      throw std::runtime_error("verification: it was slower than that");
  }
  crew.step(20);
  crew.join(5);
  return result;
}

}  // namespace sluice::bench
