// What publish costs with 1, 4, 16 and 64 subscriptions, none of them asleep: no system call is
// made, so this is what a publisher spends on looking after its readers. One loan, 16 bytes
// written, one publish; the median of means over 512, since the clock costs as much as what is
// measured.
//
//   idleN    attached, and not taking: their cache lines stay with the publisher
//   busyN    one process on another core takes of all in turn, as fast as it can
//
// The subscriptions take every entry (mode next) of 64, so they are overtaken, and jump. Afterwards
// every one must arrive at the last number, in order.
#include "sluice/node.hpp"
#include "tests/bench/broker.hpp"
#include "tests/bench/broker_cells.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/process.hpp"

#include <functional>
#include <future>
#include <stdexcept>

namespace sluice::bench {
namespace {

constexpr const char* kTopic = "bench/readers";
constexpr unsigned kBatch = 512;
enum Word : std::size_t { kLast };  // 0 while it is measured, then the last number

struct Reading {
  Subscriber subscriber;
  std::uint64_t number = 0;

  bool take() {
    const Sample sample = subscriber.take();
    if (!sample) return false;
    const std::uint64_t next = read_number(sample.bytes());
    if (next <= number) throw std::runtime_error("verification: out of order");
    number = next;
    return true;
  }
};

/// Arguments: socket, how many, "idle" or "busy", core.
void play_readers(const CrewMember& me) {
  const bool busy = me.arguments.at(2) == "busy";
  Node node = make_node("readers", me.arguments.at(0));
  std::vector<Reading> readers;
  for (int i = std::stoi(me.arguments.at(1)); i > 0; --i) {
    readers.push_back({must(node.subscribe(kTopic, {.max_held = 1}))});
  }
  for (Reading& reader : readers) {
    while (reader.subscriber.stream_count() == 0) sleep_until_ns(now_ns() + 1'000'000);
  }
  pin_this_thread(std::stoi(me.arguments.at(3)));
  me.await(1);
  me.finish();
  std::atomic<std::uint64_t>& last = me.board.words[kLast];
  std::uint64_t taken = 0;
  while (busy && last.load(std::memory_order_relaxed) == 0) {  // relaxed: somewhen is early enough
    for (Reading& reader : readers) taken += reader.take() ? 1 : 0;
  }
  me.record().values[0].store(taken);
  me.await(2);
  for (Reading& reader : readers) {
    while (reader.take()) {
    }
    if (reader.number != last.load())
      throw std::runtime_error("verification: the last one is not there");
  }
  me.finish();
}

struct Cost {
  double ns;
  double taken;  // share of what all readers could have taken meanwhile
};

/// In a thread of its own, which is bound to a core.
Cost publish_cost(const Broker& broker, const std::vector<int>& cores, unsigned readers, bool busy,
                  double seconds) {
  Crew crew;
  crew.add("readers", {broker.socket(), std::to_string(readers), busy ? "busy" : "idle",
                       std::to_string(cores.back())});
  Node node = make_node("publisher", broker.socket());
  StreamOptions options;
  options.pools = {{64}};
  options.max_held = readers;
  Publisher publisher = must(node.advertise(kTopic, options));
  crew.step(20);
  if (publisher.subscriber_count() != readers) throw std::runtime_error("not all are attached");
  pin_this_thread(cores[cores.size() - 2]);

  std::uint64_t number = 0;
  const auto batch = [&] {
    const std::uint64_t from_ns = now_ns();
    for (unsigned i = 0; i < kBatch; ++i) {
      Loan loan = publisher.loan(kNumberBytes);
      if (!loan) throw std::runtime_error(std::string("loan: ") + to_string(loan.outcome()));
      write_number(loan.bytes(), ++number);
      if (publisher.publish(std::move(loan)) != Outcome::ok) throw std::runtime_error("publish");
    }
    return static_cast<double>(now_ns() - from_ns) / kBatch;
  };
  for (int i = 0; i < 20; ++i) batch();
  std::vector<double> means;
  const std::uint64_t end_ns = now_ns() + ns_of_seconds(seconds);
  while (now_ns() < end_ns) means.push_back(batch());
  const std::uint64_t wakes = publisher.stats().wakes;
  crew.board().words[kLast].store(number);
  crew.step(20);
  crew.join(5);
  if (wakes != 0) throw std::runtime_error("verification: somebody slept");
  if (busy && crew.record(0).values[0].load() == 0)
    throw std::runtime_error("nobody took anything");
  nlohmann::json figures;
  add_quantiles(figures, "ns", std::move(means));
  const auto taken = static_cast<double>(crew.record(0).values[0].load());
  return {.ns = figures["ns_p50"],
          .taken = taken / static_cast<double>(number) / static_cast<double>(readers)};
}

}  // namespace

void add_publish_parts(CrewParts& parts) { parts["readers"] = play_readers; }

nlohmann::json measure_publish(const BrokerCell& cell) {
  const Broker broker(cell.directory);
  const std::vector<int> cores = physical_cores();
  if (cores.size() < 2) throw std::runtime_error("this workload needs two cores");
  nlohmann::json result;
  for (const unsigned readers : {1U, 4U, 16U, 64U}) {
    for (const bool busy : {false, true}) {
      const Cost cost = std::async(std::launch::async, publish_cost, std::cref(broker),
                                   std::cref(cores), readers, busy, cell.seconds / 4)
                            .get();
      const std::string name = (busy ? "busy" : "idle") + std::to_string(readers);
      result[name + "_ns"] = cost.ns;
      if (busy) result[name + "_taken"] = cost.taken;
    }
  }
  return result;
}

}  // namespace sluice::bench
