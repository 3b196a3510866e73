// What a stream notices of a broker that is killed and started again: a publisher sends 1,000
// numbers a second, a subscriber sleeps for each. Neither may miss anything: a number that is not
// the next one fails the measurement.
//
//   quiet, outage   largest interval between two numbers taken, while the broker runs; and from its
//                   kill until 0.1 s after both clients are connected again
//   noticed         from the kill until both clients know it
//   reconnected     from the start of the new broker until both are connected again
//   newcomer        from that start until a process that comes then has its first sample of the
//                   stream: the new broker knows what the old one knew
#include "sluice/node.hpp"
#include "tests/bench/broker.hpp"
#include "tests/bench/broker_cells.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/process.hpp"

#include <algorithm>
#include <stdexcept>
#include <thread>

namespace sluice::bench {
namespace {

constexpr const char* kTopic = "bench/beat";
constexpr std::uint64_t kPeriodNs = 1'000'000;
constexpr std::uint64_t kMillisecond = 1'000'000;

enum Word : std::size_t { kOutage, kStop, kLast };
enum Value : std::size_t { kLostNs, kConnectedNs, kQuietNs, kOutageNs, kTaken };

/// Writes down when the node's connection goes and comes, looking twice a millisecond.
class ConnectionWatch {
 public:
  ConnectionWatch(const Node& node, CrewRecord& record)
      : thread_([this, &node, &record] {
          for (bool before = true; !stopping_.load();) {
            const bool now = node.connected();
            if (now != before) record.values[now ? kConnectedNs : kLostNs].store(now_ns());
            before = now;
            sleep_until_ns(now_ns() + kMillisecond / 2);
          }
        }) {}
  ~ConnectionWatch() {
    stopping_.store(true);
    thread_.join();
  }

 private:
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

void play_beat(const CrewMember& me) {
  Node node = make_node("beat", me.arguments.at(0));
  StreamOptions options;
  options.lanes = {{.depth = 1024}};
  options.pools = {{64}};
  Publisher publisher = must(node.advertise(kTopic, options));
  while (publisher.subscriber_count() == 0) sleep_until_ns(now_ns() + kMillisecond);
  me.await(1);
  me.finish();
  const ConnectionWatch watch(node, me.record());
  std::uint64_t due_ns = now_ns();
  std::uint64_t number = 0;
  while (me.board.words[kStop].load() == 0) {
    sleep_until_ns(due_ns += kPeriodNs);
    Loan loan = publisher.loan(kNumberBytes);
    if (!loan) throw std::runtime_error(std::string("loan: ") + to_string(loan.outcome()));
    write_number(loan.bytes(), ++number);
    if (publisher.publish(std::move(loan)) != Outcome::ok) throw std::runtime_error("publish");
  }
  me.board.words[kLast].store(number);
  me.await(2);  // the stream ends when all is taken
  me.finish();
}

void play_listening(const CrewMember& me) {
  Node node = make_node("listening", me.arguments.at(0));
  Subscriber subscriber = must(node.subscribe(kTopic));
  while (subscriber.stream_count() == 0) sleep_until_ns(now_ns() + kMillisecond);
  me.await(1);
  me.finish();
  const ConnectionWatch watch(node, me.record());
  std::array<std::uint64_t, 2> largest{};
  std::uint64_t number = 0;
  for (std::uint64_t taken_ns = 0;;) {
    if (const Sample sample = subscriber.take()) {
      const std::uint64_t now = now_ns();
      if (read_number(sample.bytes()) != ++number) {
        throw std::runtime_error("verification: the stream has a gap after " +
                                 std::to_string(number - 1));
      }
      std::uint64_t& interval = largest[me.board.words[kOutage].load()];
      if (taken_ns != 0) interval = std::max(interval, now - taken_ns);
      taken_ns = now;
      continue;
    }
    if (number != 0 && number == me.board.words[kLast].load()) break;
    (void)subscriber.wait_for(std::chrono::milliseconds{100});
  }
  me.record().values[kQuietNs].store(largest[0]);
  me.record().values[kOutageNs].store(largest[1]);
  me.record().values[kTaken].store(number);
  me.await(2);
  me.finish();
}

/// Until both have written something later than `from_ns`; how much later the second was, in ms.
double both_after(Crew& crew, Value value, std::uint64_t from_ns) {
  for (;;) {
    const std::uint64_t earlier =
        std::min(crew.record(0).values[value].load(), crew.record(1).values[value].load());
    const std::uint64_t later =
        std::max(crew.record(0).values[value].load(), crew.record(1).values[value].load());
    if (earlier > from_ns) return static_cast<double>(later - from_ns) / 1e6;
    crew.check();
    if (now_ns() - from_ns > 20'000 * kMillisecond) {
      throw std::runtime_error(value == kLostNs ? "the broker's end is not noticed"
                                                : "the clients do not come back");
    }
    sleep_until_ns(now_ns() + kMillisecond);
  }
}

}  // namespace

void add_restart_parts(CrewParts& parts) {
  parts["beat"] = play_beat;
  parts["listening"] = play_listening;
}

nlohmann::json measure_restart(const BrokerCell& cell) {
  Broker broker(cell.directory);
  Crew crew;
  crew.add("beat", {broker.socket()});
  crew.add("listening", {broker.socket()});
  crew.step(20);
  std::atomic<std::uint64_t>& outage = crew.board().words[kOutage];

  std::vector<double> noticed, reconnected, newcomer;
  const int restarts = std::clamp(static_cast<int>(cell.seconds * 5), 2, 10);
  for (int i = 0; i < restarts; ++i) {
    sleep_until_ns(now_ns() + 300 * kMillisecond);
    outage.store(1);
    const std::uint64_t killed_ns = now_ns();
    broker.kill();
    noticed.push_back(both_after(crew, kLostNs, killed_ns));
    sleep_until_ns(now_ns() + 200 * kMillisecond);
    const std::uint64_t started_ns = now_ns();
    broker.start();
    {
      Node node = make_node("late", broker.socket());
      Subscriber subscriber = must(node.subscribe(kTopic));
      Sample sample;
      while (!(sample = subscriber.take())) {
        (void)subscriber.wait_for(std::chrono::milliseconds{500});
        if (now_ns() - started_ns > 20'000 * kMillisecond) {
          throw std::runtime_error("the new broker does not know the stream");
        }
      }
      newcomer.push_back(static_cast<double>(now_ns() - started_ns) / 1e6);
      (void)read_number(sample.bytes());
    }
    reconnected.push_back(both_after(crew, kConnectedNs, started_ns));
    sleep_until_ns(now_ns() + 100 * kMillisecond);
    outage.store(0);
  }
  crew.board().words[kStop].store(1);
  crew.step(20);
  const std::uint64_t published = crew.board().words[kLast].load();
  const auto& values = crew.record(1).values;
  if (values[kTaken].load() != published) throw std::runtime_error("verification: not all arrived");
  nlohmann::json result{{"lost", published - values[kTaken].load()},
                        {"messages", published},
                        {"restarts", restarts},
                        {"quiet_ms", static_cast<double>(values[kQuietNs].load()) / 1e6},
                        {"outage_ms", static_cast<double>(values[kOutageNs].load()) / 1e6}};
  crew.join(5);
  add_quantiles(result, "noticed_ms", noticed);
  add_quantiles(result, "reconnected_ms", reconnected);
  add_quantiles(result, "newcomer_ms", newcomer);
  return result;
}

}  // namespace sluice::bench
