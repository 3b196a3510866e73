// A bucket of 100 keys: its keeper and a watcher in processes of their own, the client here, which
// asks again as soon as it has the answer.
//
//   set     the keys in turn; every answer must bring a new revision
//   get     the same; every answer must be what was set
//   watch   the keys are set again while a watcher of all of them takes what it sees. It may miss a
//           value that was followed by another one at once, never the last one of a key. What it
//           has seen is counted until then.
#include "sluice/state.hpp"
#include "tests/bench/broker.hpp"
#include "tests/bench/broker_cells.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/control.hpp"
#include "tests/bench/process.hpp"

#include <array>
#include <chrono>
#include <stdexcept>
#include <vector>

namespace sluice::bench {
namespace {

constexpr const char* kBucket = "bench";
constexpr unsigned kKeys = 100;
enum Word : std::size_t { kLast };  // number of the last value that is set; 0: not yet known
enum Value : std::size_t { kReady, kSeen, kFromNs, kUntilNs };

std::string key_of(std::uint64_t number) { return "key/" + std::to_string(number % kKeys); }

Deadline in_ms(int ms) { return std::chrono::steady_clock::now() + std::chrono::milliseconds{ms}; }

/// Arguments: socket.
void play_keeper(const CrewMember& me) {
  Node node = make_node("keeper", me.arguments.at(0));
  const auto keeper = must(StateKeeper::create(node, kBucket));
  me.await(1);
  me.finish();
  while (me.board.phase.load() < 3) (void)keeper->step(in_ms(20));
  me.finish();
}

/// Arguments: socket. Watches from phase 2 on.
void play_watcher(const CrewMember& me) {
  Node node = make_node("watcher", me.arguments.at(0));
  me.await(1);
  me.finish();
  me.await(2);
  StateWatch watch = must(StateWatch::create(node, kBucket));
  std::vector<std::uint64_t> newest(kKeys, 0);
  std::uint64_t initial = 0;
  std::uint64_t seen = 0;
  std::uint64_t from_ns = 0;
  const auto take = [&](const StateChange& change) {
    const std::uint64_t number = read_number(change.value);
    std::uint64_t& before = newest[number % kKeys];
    if (change.key != key_of(number) || number <= before) {
      throw std::runtime_error("verification: a change came twice or out of order");
    }
    if (before == 0) {
      ++initial;
    } else {
      if (seen++ == 0) from_ns = now_ns();
    }
    before = number;
  };
  const auto has_last = [&] {
    const std::uint64_t last = me.board.words[kLast].load();
    if (last == 0) return false;
    for (std::uint64_t i = 0; i < kKeys; ++i) {
      if (newest[(last - i) % kKeys] != last - i) return false;
    }
    return true;
  };
  while (initial < kKeys) (void)watch.step(in_ms(100), take);
  me.record().values[kReady].store(1);
  while (!has_last()) (void)watch.step(in_ms(20), take);
  me.record().values[kSeen].store(seen);
  me.record().values[kFromNs].store(from_ns);
  me.record().values[kUntilNs].store(now_ns());
  me.await(3);
  me.finish();
}

class Client {
 public:
  explicit Client(Node& node) : state_(must(State::create(node, kBucket))) {}

  void set() {
    const std::uint64_t number = ++number_;
    std::array<std::byte, kNumberBytes> value;
    write_number(value, number);
    const StateValue answer = state_.set(key_of(number), value);
    require(answer.status, "set");
    if (answer.revision <= revision_) throw std::runtime_error("verification: an old revision");
    revision_ = answer.revision;
  }
  /// What was set kKeys - 1 numbers ago, and so on to the last.
  void get() {
    const std::uint64_t number = number_ - kKeys + 1 + asked_++ % kKeys;
    const StateValue answer = state_.get(key_of(number));
    require(answer.status, "get");
    if (read_number(answer.value) != number) throw std::runtime_error("verification: old value");
  }
  std::uint64_t number() const { return number_; }

 private:
  static void require(const Status& status, const char* what) {
    if (!status.ok()) throw std::runtime_error(std::string(what) + ": " + status.message);
  }
  State state_;
  std::uint64_t number_ = 0;
  std::uint64_t asked_ = 0;
  std::uint64_t revision_ = 0;
};

template <class Operation>
double per_second(double seconds, Operation&& operation) {
  const std::uint64_t from_ns = now_ns();
  std::uint64_t count = 0;
  for (const std::uint64_t end_ns = from_ns + ns_of_seconds(seconds); now_ns() < end_ns; ++count) {
    operation();
  }
  return static_cast<double>(count) * 1e9 / static_cast<double>(now_ns() - from_ns);
}

}  // namespace

void add_state_parts(CrewParts& parts) {
  parts["keeper"] = play_keeper;
  parts["watcher"] = play_watcher;
}

nlohmann::json measure_state(const BrokerCell& cell) {
  const Broker broker(cell.directory);
  Crew crew;
  crew.add("keeper", {broker.socket()});
  const std::size_t watcher = crew.add("watcher", {broker.socket()});
  crew.step(20);
  Node node = make_node("client", broker.socket());
  Client client(node);
  for (unsigned i = 0; i < 10 * kKeys; ++i) client.set();  // warm, and every key exists

  nlohmann::json result;
  result["set_per_second"] = per_second(cell.seconds / 2, [&] { client.set(); });
  result["get_per_second"] = per_second(cell.seconds / 2, [&] { client.get(); });
  const auto await = [&](Value value, const char* what) {
    for (const std::uint64_t until_ns = now_ns() + 20'000'000'000;
         crew.record(watcher).values[value].load() == 0; sleep_until_ns(now_ns() + 1'000'000)) {
      crew.check();
      if (now_ns() > until_ns) throw std::runtime_error(what);
    }
  };
  crew.board().phase.fetch_add(1);  // in which only the watcher has something to do
  wake_all(crew.board().phase);
  await(kReady, "the watcher does not see all keys");
  const std::uint64_t before = client.number();
  result["set_watched_per_second"] = per_second(cell.seconds / 2, [&] { client.set(); });
  for (unsigned i = 0; i < kKeys; ++i) client.set();
  crew.board().words[kLast].store(client.number());
  await(kUntilNs, "verification: the watcher does not see the last values");
  crew.step(20);
  const auto& values = crew.record(watcher).values;
  const auto seen = static_cast<double>(values[kSeen].load());
  result["watch_per_second"] =
      seen * 1e9 / static_cast<double>(values[kUntilNs].load() - values[kFromNs].load());
  result["seen_share"] = seen / static_cast<double>(client.number() - before);
  crew.join(5);
  return result;
}

}  // namespace sluice::bench
