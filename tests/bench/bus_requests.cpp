// Requests of one requester, in this process, to one and to four workers, in a process each; all
// sleep when they have nothing to do. 32 requests are outstanding all the time, in the form of
// callbacks. A request is a number, its reply another one that belongs to it: each must come to its
// own callback, and the workers together must have handled exactly as many as were asked. The
// workers may each have all 32 (credits), so that none waits for the next one while there is work.
#include "sluice/requester.hpp"
#include "sluice/responder.hpp"
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

constexpr const char* kService = "bench/numbers";
constexpr unsigned kOutstanding = 32;
constexpr std::uint64_t kAnswered = std::uint64_t{1} << 62;  // in the number of a reply
constexpr std::uint64_t kMillisecond = 1'000'000;

Deadline in_ms(int ms) { return std::chrono::steady_clock::now() + std::chrono::milliseconds{ms}; }

/// Arguments: socket.
void play_worker(const CrewMember& me) {
  Node node = make_node("worker-" + std::to_string(me.index), me.arguments.at(0));
  std::uint64_t handled = 0;
  const auto responder =
      must(Responder::create(node, kService,
                             [&handled](Request& request) {
                               std::array<std::byte, kNumberBytes> reply;
                               write_number(reply, read_number(request.payload()) | kAnswered);
                               ++handled;
                               (void)request.reply(reply);
                             },
                             {.credits = kOutstanding}));
  me.await(1);
  me.finish();
  while (me.board.phase.load() < 2) (void)responder->step(in_ms(20));
  me.record().values[0].store(handled);
  me.finish();
}

/// Keeps kOutstanding requests on their way.
class Asking {
 public:
  explicit Asking(Requester& requester) : requester_(requester) {}

  std::uint64_t answered() const { return answered_; }

  void run_until(std::uint64_t end_ns) {
    while (now_ns() < end_ns) {
      while (asked_ - answered_ < kOutstanding) ask();
      step();
    }
  }
  void finish() {
    while (answered_ < asked_) step();
  }

 private:
  void ask() {
    const std::uint64_t number = ++asked_;
    std::array<std::byte, kNumberBytes> request;
    write_number(request, number);
    requester_.start(request, {}, [this, number](const Reply& reply) { take(number, reply); });
  }
  void take(std::uint64_t number, const Reply& reply) {
    if (!reply) throw std::runtime_error("a request failed: " + reply.status.message);
    if (read_number(reply.payload()) != (number | kAnswered)) {
      throw std::runtime_error("verification: the reply to another request");
    }
    ++answered_;
  }
  void step() {
    if (requester_.step(in_ms(5'000)) == 0) throw std::runtime_error("no reply came");
  }

  Requester& requester_;
  std::uint64_t asked_ = 0;
  std::uint64_t answered_ = 0;
};

void measure_with(unsigned workers, const BrokerCell& cell, const std::string& name,
                  nlohmann::json& result) {
  const Broker broker(cell.directory);
  Crew crew;
  for (unsigned i = 0; i < workers; ++i) crew.add("worker", {broker.socket()});
  crew.step(20);
  Node node = make_node("requester", broker.socket());
  const auto requester = must(Requester::create(node, kService));
  for (const std::uint64_t until_ns = now_ns() + 10'000 * kMillisecond;
       requester->worker_count() != workers; sleep_until_ns(now_ns() + kMillisecond)) {
    if (now_ns() > until_ns) throw std::runtime_error("not all workers are attached");
  }
  const auto cpu_ns = [&] {
    std::uint64_t sum = cpu_time_ns(getpid()) + cpu_time_ns(broker.pid());
    for (const pid_t pid : crew.pids()) sum += cpu_time_ns(pid);
    return sum;
  };

  Asking asking(*requester);
  asking.run_until(now_ns() + ns_of_seconds(cell.seconds / 10));
  const std::uint64_t before = asking.answered();
  const std::uint64_t before_cpu_ns = cpu_ns();
  const std::uint64_t from_ns = now_ns();
  asking.run_until(from_ns + ns_of_seconds(cell.seconds));
  const auto answered = static_cast<double>(asking.answered() - before);
  result[name + "_per_second"] = answered * 1e9 / static_cast<double>(now_ns() - from_ns);
  result[name + "_cpu_us"] = static_cast<double>(cpu_ns() - before_cpu_ns) / 1e3 / answered;
  asking.finish();

  crew.step(20);
  std::uint64_t handled = 0;
  std::uint64_t least = ~std::uint64_t{0};
  for (unsigned i = 0; i < workers; ++i) {
    const std::uint64_t own = crew.record(i).values[0].load();
    handled += own;
    least = std::min(least, own);
  }
  if (handled != asking.answered()) {
    throw std::runtime_error("verification: " + std::to_string(handled) + " requests handled, " +
                             std::to_string(asking.answered()) + " answered");
  }
  result["least_share"] = static_cast<double>(least) / static_cast<double>(handled);
  crew.join(5);
}

}  // namespace

void add_request_parts(CrewParts& parts) { parts["worker"] = play_worker; }

nlohmann::json measure_requests(const BrokerCell& cell) {
  nlohmann::json result;
  measure_with(1, cell, "one", result);
  measure_with(4, cell, "four", result);
  return result;
}

}  // namespace sluice::bench
