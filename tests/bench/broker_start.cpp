// How long until something arrives. A publisher in another process sends 1,000 numbers a second and
// keeps the last one for who comes later, so that its pace is not part of the figures.
//
//   first-sample   a process is started, fork and exec: from just before the fork until it has the
//   first sample; and
//                  of that: until its main(), until it has a node, until subscribe() has returned
//   attach         within a process that has a node: from subscribe() to the first sample; the same
//   with the node's
//                  creation; and the other way around, from advertise() until a subscriber that was
//                  there, in another process, is attached (seen every 20 µs)
//
// After its first sample every subscriber takes three more, which must be the next ones.
#include "sluice/node.hpp"
#include "tests/bench/broker.hpp"
#include "tests/bench/broker_cells.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/process.hpp"

#include <algorithm>
#include <stdexcept>

namespace sluice::bench {
namespace {

constexpr const char* kTopic = "bench/clock";
constexpr std::uint64_t kPeriodNs = 1'000'000;
constexpr std::uint64_t kLimitNs = 10'000'000'000;

StreamOptions number_stream() {
  StreamOptions options;
  options.lanes = {{.depth = 1024, .history = 1}};
  options.pools = {{64}};
  return options;
}

Subscriber subscribe(Node& node) {
  return must(node.subscribe(kTopic, SubscriptionOptions{.history = 1}));
}

/// Blocks until there is one.
std::uint64_t take_number(Subscriber& subscriber) {
  const std::uint64_t until_ns = now_ns() + kLimitNs;
  for (;;) {
    if (const Sample sample = subscriber.take()) return read_number(sample.bytes());
    if (now_ns() > until_ns) throw std::runtime_error("no sample came");
    (void)subscriber.wait_for(std::chrono::milliseconds{500});
  }
}

void require_successors(Subscriber& subscriber, std::uint64_t number) {
  for (std::uint64_t i = 1; i <= 3; ++i) {
    if (take_number(subscriber) != number + i) {
      throw std::runtime_error("verification: the sample after " + std::to_string(number) +
                               " is not the next one");
    }
  }
}

void publish_number(Publisher& publisher, std::uint64_t number) {
  Loan loan = publisher.loan(kNumberBytes);
  if (!loan) throw std::runtime_error(std::string("loan: ") + to_string(loan.outcome()));
  write_number(loan.bytes(), number);
  if (publisher.publish(std::move(loan)) != Outcome::ok) throw std::runtime_error("publish failed");
}

// ---- parts

void play_clock(const CrewMember& me) {
  Node node = make_node("clock", me.arguments.at(0));
  Publisher publisher = must(node.advertise(kTopic, number_stream()));
  publish_number(publisher, 1);
  me.await(1);
  me.finish();
  std::uint64_t due_ns = now_ns();
  for (std::uint64_t number = 2; me.board.phase.load() < 2; ++number) {
    sleep_until_ns(due_ns += kPeriodNs);
    publish_number(publisher, number);
  }
  me.finish();
}

void play_newcomer(const CrewMember& me) {
  auto note = [&, i = std::size_t{0}]() mutable { me.record().values[i++].store(now_ns()); };
  note();
  Node node = make_node("newcomer", me.arguments.at(0));
  note();
  Subscriber subscriber = subscribe(node);
  note();
  const std::uint64_t number = take_number(subscriber);
  note();
  require_successors(subscriber, number);
}

/// Takes one number of every stream that comes by.
void play_listener(const CrewMember& me) {
  Node node = make_node("listener", me.arguments.at(0));
  Subscriber subscriber = must(node.subscribe("late/+"));
  me.await(1);
  me.finish();
  std::uint64_t expected = 1;
  while (me.board.phase.load() < 2) {
    if (const Sample sample = subscriber.take()) {
      if (read_number(sample.bytes()) != expected++) throw std::runtime_error("not the next one");
      continue;
    }
    (void)subscriber.wait_for(std::chrono::milliseconds{5});
  }
  me.record().values[0].store(expected - 1);
  me.finish();
}

unsigned repetitions(const BrokerCell& cell) {
  return static_cast<unsigned>(std::clamp(cell.seconds * 50, 10.0, 100.0));
}

}  // namespace

void add_start_parts(CrewParts& parts) {
  parts["clock"] = play_clock;
  parts["newcomer"] = play_newcomer;
  parts["listener"] = play_listener;
}

nlohmann::json measure_start(const BrokerCell& cell) {
  const Broker broker(cell.directory);
  Crew crew;
  crew.add("clock", {broker.socket()});
  crew.step(20);
  std::vector<double> first, exec, node, subscribed, sample;
  for (unsigned i = repetitions(cell); i > 0; --i) {
    const CrewRecord& record = crew.call("newcomer", {broker.socket()}, 20);
    const auto ms = [&](std::size_t from, std::size_t to) {
      const std::uint64_t from_ns =
          from == 0 ? record.started_ns.load() : record.values[from - 1].load();
      return static_cast<double>(record.values[to - 1].load() - from_ns) / 1e6;
    };
    first.push_back(ms(0, 4));
    exec.push_back(ms(0, 1));
    node.push_back(ms(1, 2));
    subscribed.push_back(ms(2, 3));
    sample.push_back(ms(3, 4));
  }
  crew.step(20);
  crew.join(5);
  nlohmann::json result;
  add_quantiles(result, "first_ms", first);
  add_quantiles(result, "exec_ms", exec);
  add_quantiles(result, "node_ms", node);
  add_quantiles(result, "subscribe_ms", subscribed);
  add_quantiles(result, "sample_ms", sample);
  return result;
}

nlohmann::json measure_attach(const BrokerCell& cell) {
  const Broker broker(cell.directory);
  Crew crew;
  crew.add("clock", {broker.socket()});
  const std::size_t listener = crew.add("listener", {broker.socket()});
  crew.step(20);

  const unsigned count = repetitions(cell);
  const auto us_since = [](std::uint64_t from_ns) {
    return static_cast<double>(now_ns() - from_ns) / 1e3;
  };
  std::vector<double> attach, with_node, advertise, found;
  Node node = make_node("attacher", broker.socket());
  for (unsigned i = 0; i < count; ++i) {
    const std::uint64_t from_ns = now_ns();
    Subscriber subscriber = subscribe(node);
    const std::uint64_t number = take_number(subscriber);
    attach.push_back(us_since(from_ns));
    require_successors(subscriber, number);
  }
  for (unsigned i = 0; i < count; ++i) {
    const std::uint64_t from_ns = now_ns();
    Node newcomer = make_node("newcomer", broker.socket());
    Subscriber subscriber = subscribe(newcomer);
    const std::uint64_t number = take_number(subscriber);
    with_node.push_back(us_since(from_ns));
    require_successors(subscriber, number);
  }
  for (unsigned i = 1; i <= count; ++i) {
    const std::uint64_t from_ns = now_ns();
    Publisher publisher = must(node.advertise("late/" + std::to_string(i), number_stream()));
    advertise.push_back(us_since(from_ns));
    while (publisher.subscriber_count() == 0) {
      if (now_ns() - from_ns > kLimitNs) throw std::runtime_error("nobody attaches");
      sleep_until_ns(now_ns() + 20'000);
    }
    found.push_back(us_since(from_ns));
    publish_number(publisher, i);
    sleep_until_ns(now_ns() + 5'000'000);  // taken before the stream ends, so that the next is next
  }
  crew.step(20);
  crew.join(5);
  if (const std::uint64_t heard = crew.record(listener).values[0].load(); heard != count) {
    throw std::runtime_error("verification: the listener took " + std::to_string(heard) + " of " +
                             std::to_string(count));
  }
  nlohmann::json result;
  add_quantiles(result, "attach_us", attach);
  add_quantiles(result, "with_node_us", with_node);
  add_quantiles(result, "advertise_us", advertise);
  add_quantiles(result, "found_us", found);
  return result;
}

}  // namespace sluice::bench
