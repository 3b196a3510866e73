// How soon a process that is killed is noticed by who shares a stream with it, and how soon its
// share of the memory can be used again. A fresh victim for each measurement.
//
//   reader_noticed   a subscription that holds all slots of a stream is counted no longer
//   slots_free       its publisher gets a slot again
//   writer_noticed   a subscriber that sleeps for the next message hears that there is none
#include "sluice/node.hpp"
#include "tests/bench/broker.hpp"
#include "tests/bench/broker_cells.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/process.hpp"

#include <signal.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace sluice::bench {
namespace {

constexpr const char* kHeld = "bench/held";
constexpr const char* kEnding = "bench/ending";
constexpr std::uint32_t kDepth = 8;
constexpr std::uint64_t kMillisecond = 1'000'000;
constexpr std::uint64_t kStepNs = 20'000;

StreamOptions small_stream() {
  StreamOptions options;
  options.lanes = {{.depth = kDepth}};
  options.pools = {{64}};
  options.max_held = kDepth;
  options.on_full = OnFull::fail;
  return options;
}

// Until `done`; how long that took from `from_ns`, in ms.
template <class Done>
double ms_until(std::uint64_t from_ns, const char* what, Done&& done) {
  while (!done()) {
    if (now_ns() - from_ns > 10'000 * kMillisecond) throw std::runtime_error(what);
    sleep_until_ns(now_ns() + kStepNs);
  }
  return static_cast<double>(now_ns() - from_ns) / 1e6;
}

void play_holder(const CrewMember& me) {
  Node node = make_node("holder", me.arguments.at(0));
  SubscriptionOptions options;
  options.mode = DeliveryMode::reliable;
  options.max_held = kDepth;
  Subscriber subscriber = must(node.subscribe(kHeld, options));
  std::vector<Sample> held;
  while (held.size() < kDepth) {
    if (Sample sample = subscriber.take()) {
      held.push_back(std::move(sample));
      continue;
    }
    (void)subscriber.wait_for(std::chrono::milliseconds{100});
  }
  me.record().values[0].store(1);
  me.await(UINT32_MAX);  // until it is killed
}

void play_ending(const CrewMember& me) {
  Node node = make_node("ending", me.arguments.at(0));
  Publisher publisher = must(node.advertise(kEnding, small_stream()));
  while (publisher.subscriber_count() == 0) sleep_until_ns(now_ns() + kMillisecond);
  me.record().values[0].store(1);
  me.await(UINT32_MAX);
}

std::uint64_t kill_when_ready(Crew& crew, std::size_t index) {
  (void)ms_until(now_ns(), "a victim does not come so far as to be killed",
                 [&] { return crew.record(index).values[0].load() != 0; });
  sleep_until_ns(now_ns() + 5 * kMillisecond);  // all sleep
  const std::uint64_t killed_ns = now_ns();
  ::kill(crew.pids().at(index), SIGKILL);
  return killed_ns;
}

}  // namespace

void add_death_parts(CrewParts& parts) {
  parts["holder"] = play_holder;
  parts["ending"] = play_ending;
}

nlohmann::json measure_death(const BrokerCell& cell) {
  const Broker broker(cell.directory);
  Crew crew;
  std::vector<double> reader_noticed, slots_free, writer_noticed;
  const int deaths = std::clamp(static_cast<int>(cell.seconds * 20), 5, 50);
  for (int i = 0; i < deaths; ++i) {
    Node node = make_node("survivor", broker.socket());
    {
      Publisher publisher = must(node.advertise(kHeld, small_stream()));
      const std::size_t victim = crew.add("holder", {broker.socket()});
      const auto publish = [&] {
        Loan loan = publisher.loan(kNumberBytes);
        return loan && publisher.publish(std::move(loan)) == Outcome::ok;
      };
      (void)ms_until(now_ns(), "the holder does not come",
                     [&] { return publisher.subscriber_count() != 0; });
      for (std::uint32_t n = 0; n < kDepth; ++n) {
        if (!publish()) throw std::runtime_error("the stream has less room than its depth");
      }
      const std::uint64_t killed_ns = kill_when_ready(crew, victim);
      if (publish()) throw std::runtime_error("verification: what was held is not held");
      slots_free.push_back(ms_until(killed_ns, "its slots are not free again", publish));
      reader_noticed.push_back(ms_until(killed_ns, "the dead reader is not noticed",
                                        [&] { return publisher.subscriber_count() == 0; }));
    }
    Subscriber subscriber = must(node.subscribe(kEnding));
    const std::size_t victim = crew.add("ending", {broker.socket()});
    (void)ms_until(now_ns(), "the publisher does not come",
                   [&] { return subscriber.stream_count() != 0; });
    const std::uint64_t killed_ns = kill_when_ready(crew, victim);
    writer_noticed.push_back(ms_until(killed_ns, "the dead publisher is not noticed", [&] {
      (void)subscriber.wait_for(std::chrono::milliseconds{100});
      return !subscriber.take() && subscriber.stream_count() == 0;
    }));
  }
  nlohmann::json result{{"deaths", 2 * deaths}};
  add_quantiles(result, "reader_noticed_ms", reader_noticed);
  add_quantiles(result, "slots_free_ms", slots_free);
  add_quantiles(result, "writer_noticed_ms", writer_noticed);
  return result;
}

}  // namespace sluice::bench
