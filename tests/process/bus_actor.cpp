// One process of the bus, which writes down what it does, line by line, into a file of its own:
//
//   bus_actor SOCKET ROLE NAME FILE
//
//   produce  tasks to `work/NAME`        i N  about to publish    q N  is in the stream    h N  was
//   acknowledged by the group
//                                        f N  could not be published
//   work     as a durable group          s N  began    d N  done, acknowledged next    r N rejected
//   tell     to `news/NAME`              i N, q N (N subscribers were attached: "q N 1")
//   listen   to `news/+`, reliably       t N
//   ask      the service `oracle`        i N   o N  answered    u N  may have been handled    n N
//   was not serve    that service                x N   about to answer
//
// N is "NAME.incarnation.number" of who made it, ".i" or ".e" behind it says whether a request is
// idempotent or for exactly one worker. The process can be killed at any instant: a line is written
// with one write().
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/requester.hpp"
#include "sluice/responder.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <random>
#include <string>
#include <thread>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

std::atomic<bool> asked_to_end{false};

class Actor {
 public:
  Actor(std::string socket, std::string name, const std::string& file)
      : name_(std::move(name)), incarnation_(std::to_string(::getpid())) {
    fd_ = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    NodeOptions options;
    options.name = name_;
    options.socket = std::move(socket);
    node_ = must(Node::create(std::move(options)));
  }

  void produce();
  void work();
  void tell();
  void listen();
  void ask();
  void serve();

 private:
  template <class T>
  static std::optional<T> must(Result<T> made) {
    if (!made) {
      std::fprintf(stderr, "bus_actor: %s\n", made.error().message.c_str());
      std::_Exit(3);
    }
    return std::move(*made);
  }
  void note(char what, std::string_view number) const {
    std::string line{what};
    line.append(" ").append(number).append("\n");
    if (::write(fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::_Exit(4);
  }
  std::string next() { return name_ + "." + incarnation_ + "." + std::to_string(++number_); }
  bool chance(unsigned percent) { return random_() % 100 < percent; }
  static std::span<const std::byte> bytes(const std::string& text) {
    return std::as_bytes(std::span{text.data(), text.size()});
  }
  static Deadline in(std::chrono::milliseconds time) {
    return std::chrono::steady_clock::now() + time;
  }

  std::string name_;
  std::string incarnation_;
  int fd_ = -1;
  std::optional<Node> node_;
  std::uint64_t number_ = 0;
  std::minstd_rand random_{static_cast<unsigned>(::getpid())};
};

void Actor::produce() {
  MessagePublisherOptions options;
  options.stream = message_stream(128, 32);
  options.stream.full_timeout_ns = 20'000'000;
  auto out = must(MessagePublisher::create(*node_, "work/" + name_, options));
  std::deque<std::pair<std::string, Published>> waiting;
  const auto look = [&] {
    while (!waiting.empty()) {
      const Outcome outcome = out->wait_reached(waiting.front().second, ReachLevel::handled, {});
      if (outcome == Outcome::timeout) break;
      if (outcome == Outcome::ok) note('h', waiting.front().first);
      waiting.pop_front();
    }
  };
  // What is published to nobody is kept for whom comes later, but no longer than there is room.
  while (!asked_to_end && out->stream().subscriber_count() == 0) std::this_thread::sleep_for(1ms);
  while (!asked_to_end) {
    const std::string number = next();
    note('i', number);
    Published published;
    Outcome outcome = Outcome::full;
    while ((outcome = out->publish(bytes(number), {}, published)) == Outcome::full && !asked_to_end)
      look();
    note(outcome == Outcome::ok ? 'q' : 'f', number);
    if (outcome == Outcome::ok) waiting.emplace_back(number, published);
    look();
    std::this_thread::sleep_for(500us);
  }
  // In order: what is in our stream is ours to keep until somebody has done it.
  for (const Deadline end = in(30s); !waiting.empty() && std::chrono::steady_clock::now() < end;) {
    look();
    std::this_thread::sleep_for(1ms);
  }
}

void Actor::work() {
  MessageSubscriptionOptions options;
  options.subscription.mode = DeliveryMode::group;
  options.subscription.group = "workers";
  options.subscription.durable = true;
  options.subscription.history = 4'096;  // what came before the first worker
  options.subscription.credits = 4;
  auto in_work = must(MessageSubscriber::create(*node_, "work/+", options));
  while (!asked_to_end) {
    Message message = in_work->receive(in(50ms));
    if (!message) continue;
    const std::string number{message.text()};
    note('s', number);
    if (chance(20)) std::this_thread::sleep_for(std::chrono::microseconds{random_() % 2'000});
    if (chance(5) && message.deliveries_before() < 5) {
      note('r', number);
      in_work->reject(std::move(message));
      continue;
    }
    note('d', number);
    in_work->acknowledge(std::move(message));
  }
}

void Actor::tell() {
  MessagePublisherOptions options;
  options.stream = message_stream(128, 64);
  auto out = must(MessagePublisher::create(*node_, "news/" + name_, options));
  while (!asked_to_end) {
    const std::string number = next();
    note('i', number);
    Published published;
    const Outcome outcome = out->publish(bytes(number), {}, published);
    if (outcome == Outcome::ok) note('q', number + (published.queued != 0 ? " 1" : " 0"));
    std::this_thread::sleep_for(500us);
  }
}

void Actor::listen() {
  MessageSubscriptionOptions options;
  options.subscription.mode = DeliveryMode::reliable;
  auto in_news = must(MessageSubscriber::create(*node_, "news/+", options));
  // To the end: what was published before.
  for (Deadline until = Deadline::max(); std::chrono::steady_clock::now() < until;) {
    if (asked_to_end && until == Deadline::max()) until = in(500ms);
    Message message = in_news->receive(in(50ms));
    if (!message) continue;
    note('t', std::string{message.text()});
    in_news->acknowledge(std::move(message));
  }
}

void Actor::ask() {
  RequesterOptions options;
  options.retry.first_delay_ns = 2'000'000;
  auto asks = must(Requester::create(*node_, "oracle", options));
  while (!asked_to_end) {
    const bool idempotent = chance(50);
    const std::string number = next() + (idempotent ? ".i" : ".e");
    note('i', number);
    const Reply reply = (*asks)->call(number, {.deadline = in(2s), .idempotent = idempotent});
    if (reply) {
      note(reply.text() == number ? 'o' : '!', number);
    } else {
      // "nobody serves" is the only answer that says that nothing was done.
      note(reply.status.message.starts_with("nobody") ? 'n' : 'u', number);
      std::this_thread::sleep_for(1ms);
    }
  }
}

void Actor::serve() {
  auto serves = must(Responder::create(*node_, "oracle", [this](Request& request) {
    const std::string number{request.text()};
    if (chance(10)) std::this_thread::sleep_for(std::chrono::microseconds{random_() % 3'000});
    note('x', number);
    (void)request.reply(number);
  }));
  while (!asked_to_end) (void)(*serves)->step(in(50ms));
}

}  // namespace
}  // namespace sluice::test

int main(int argc, char** argv) {
  using sluice::test::Actor;
  if (argc != 5) return 2;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGTERM, [](int) { sluice::test::asked_to_end = true; });
  Actor actor{argv[1], argv[3], argv[4]};
  const std::string_view role = argv[2];
  if (role == "produce") actor.produce();
  if (role == "work") actor.work();
  if (role == "tell") actor.tell();
  if (role == "listen") actor.listen();
  if (role == "ask") actor.ask();
  if (role == "serve") actor.serve();
  return 0;
}
