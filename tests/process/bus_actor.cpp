// One process of the bus, which writes down what it does, line by line, into a file of its own:
//
//   bus_actor SOCKET ROLE NAME FILE [TOPIC]
//
//   produce  tasks to `TOPIC/NAME`       i N  about to publish    q N  is in the stream
//                                        h N  was acknowledged by the group
//                                        f N  was not published   u N  nobody can tell any more
//   work     as a durable group          s N  began    d N  done, acknowledged next    r N rejected
//   tell     to `TOPIC/NAME`             i N, q N n (n subscriptions were attached), f N
//   listen   to `TOPIC/+`, reliably      t N me
//   ask      the service `oracle`        i N   o N  answered    u N  may have been handled
//                                        n N  nobody serves    f N  was never asked
//   serve    that service                x N  about to answer
//   handle   `orders/+`, a dispatcher in a group:
//                                        d N  went well    x N me  try again    r N me  reject
//   bury     dead letters, reliably      b me  from here on    l N
//   file     to `durable/NAME`           as produce; h N  is recorded
//   consume  those, durably              d N me  done, acknowledged next
//   keep     the state `register`, and it is in FILE.state: "value revision"
//   count    up there, one by one        i N   o N value    f N  somebody was faster    u N perhaps
//
// N is "NAME.incarnation.number" of who made it, `me` is "NAME.incarnation"; ".i" or ".e" behind N
// says whether a request is idempotent or for exactly one worker. The process can be killed at any
// instant: a line is written with one write().
#include "sluice/dispatcher.hpp"
#include "sluice/durable.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/requester.hpp"
#include "sluice/responder.hpp"
#include "sluice/state.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <thread>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

std::atomic<bool> asked_to_end{false};

class Actor {
 public:
  Actor(std::string socket, std::string name, const std::string& file, std::string topic)
      : name_(std::move(name)),
        incarnation_(std::to_string(::getpid())),
        file_(file),
        topic_(std::move(topic)) {
    fd_ = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    NodeOptions options;
    options.name = name_;
    options.socket = std::move(socket);
    options.connect_timeout = 60s;
    node_ = must(Node::create(std::move(options)));
  }

  void produce();
  void work();
  void tell();
  void listen();
  void ask();
  void serve();
  void handle();
  void bury();
  void file();
  void consume();
  void keep();
  void count();

 private:
  struct Waiting {
    std::string number;
    Published published;
  };
  // Publishes one after the other until it is time to end; `outcome_of` says how far one has come.
  void publish_all(MessagePublisher& out,
                   const std::function<Outcome(const Published&)>& outcome_of);

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
  [[nodiscard]] std::string me() const { return name_ + "." + incarnation_; }
  [[nodiscard]] std::string topic_or(const char* otherwise) const {
    return topic_.empty() ? otherwise : topic_;
  }
  // Tries until there is one; none when it is time to end.
  template <class Make>
  static auto insist(Make make) -> std::optional<std::decay_t<decltype(*make())>> {
    while (!asked_to_end) {
      auto made = make();
      if (made) return std::move(*made);
      std::this_thread::sleep_for(5ms);
    }
    return std::nullopt;
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
  std::string file_;
  std::string topic_;
  int fd_ = -1;
  std::optional<Node> node_;
  std::uint64_t number_ = 0;
  std::minstd_rand random_{static_cast<unsigned>(::getpid())};
};

void Actor::publish_all(MessagePublisher& out,
                        const std::function<Outcome(const Published&)>& outcome_of) {
  std::deque<Waiting> waiting;
  const auto look = [&] {
    while (!waiting.empty()) {
      const Outcome outcome = outcome_of(waiting.front().published);
      if (outcome == Outcome::timeout) break;
      note(outcome == Outcome::ok ? 'h' : 'u', waiting.front().number);
      waiting.pop_front();
    }
  };
  // What is published to nobody is kept for whom comes later, but no longer than there is room.
  while (!asked_to_end && out.stream().subscriber_count() == 0) std::this_thread::sleep_for(1ms);
  while (!asked_to_end) {
    const std::string number = next();
    note('i', number);
    Published published;
    Outcome outcome = Outcome::full;
    while ((outcome = out.publish(bytes(number), {}, published)) == Outcome::full && !asked_to_end)
      look();
    note(outcome == Outcome::ok ? 'q' : 'f', number);
    if (outcome == Outcome::ok) waiting.push_back({number, published});
    look();
    std::this_thread::sleep_for(500us);
  }
  // In order: what is in our stream is ours to keep until somebody has done it.
  for (const Deadline end = in(30s); !waiting.empty() && std::chrono::steady_clock::now() < end;) {
    look();
    std::this_thread::sleep_for(1ms);
  }
}

void Actor::produce() {
  MessagePublisherOptions options;
  options.stream = message_stream(128, 32);
  options.stream.full_timeout_ns = 20'000'000;
  auto out = must(MessagePublisher::create(*node_, topic_or("work") + "/" + name_, options));
  publish_all(*out, [&](const Published& published) {
    return out->wait_reached(published, ReachLevel::handled, {});
  });
}

void Actor::file() {
  MessagePublisherOptions options;
  options.stream = message_stream(128, 256);
  options.stream.full_timeout_ns = 20'000'000;
  auto out = must(MessagePublisher::create(*node_, "durable/" + name_, options));
  publish_all(*out, [&](const Published& published) {
    // Its place is kept while the recorder is away.
    const Outcome outcome = out->wait_recorded(published, {});
    return outcome == Outcome::no_subscriber ? Outcome::timeout : outcome;
  });
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
  auto out = must(MessagePublisher::create(*node_, topic_or("news") + "/" + name_, options));
  while (!asked_to_end) {
    const std::string number = next();
    note('i', number);
    Published published;
    const Outcome outcome = out->publish(bytes(number), {}, published);
    if (outcome == Outcome::ok) {
      note('q', number + " " + std::to_string(published.queued));
    } else {
      note('f', number);
    }
    std::this_thread::sleep_for(500us);
  }
}

void Actor::listen() {
  MessageSubscriptionOptions options;
  options.subscription.mode = DeliveryMode::reliable;
  auto in_news = must(MessageSubscriber::create(*node_, topic_or("news") + "/+", options));
  // To the end: what was published before.
  for (Deadline until = Deadline::max(); std::chrono::steady_clock::now() < until;) {
    if (asked_to_end && until == Deadline::max()) until = in(500ms);
    Message message = in_news->receive(in(50ms));
    if (!message) continue;
    note('t', std::string{message.text()} + " " + me());
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
      // "nobody serves", and what was refused here: these say that nothing was done.
      const bool refused = reply.status.code == StatusCode::resource_exhausted ||
                           reply.status.code == StatusCode::invalid_argument;
      note(reply.status.message.starts_with("nobody") ? 'n' : refused ? 'f' : 'u', number);
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

void Actor::handle() {
  DispatcherOptions loop_options;
  loop_options.agent = false;
  auto loop = must(Dispatcher::create(*node_, loop_options));
  HandlerOptions options;
  options.subscription.subscription.mode = DeliveryMode::group;
  options.subscription.subscription.group = "handlers";
  options.subscription.subscription.durable = true;
  options.subscription.subscription.history = 4'096;
  options.subscription.subscription.credits = 4;
  options.retry.attempts = 5;
  options.retry.first_delay_ns = 1'000'000;
  options.retry.budget_burst = 1'000'000;
  const auto handler = [this](const Message& message) -> HandlerResult {
    const std::string number{message.text()};
    const unsigned what = static_cast<unsigned>(random_() % 100);
    if (what < 75) {
      note('d', number);
      return {};
    }
    note(what < 90 ? 'x' : 'r', number + " " + me());
    return {what < 90 ? Handled::retry : Handled::reject, "as it happens"};
  };
  (void)must((*loop)->on("orders/+", handler, options));
  while (!asked_to_end) (void)(*loop)->step(in(50ms));
  // What waits for its next attempt here is dealt with; the rest is the others'.
  (*loop)->drain();
  (void)(*loop)->run();
}

void Actor::bury() {
  MessageSubscriptionOptions options;
  options.subscription.mode = DeliveryMode::reliable;
  options.subscription.history = DeadLetters::kKept;
  auto letters = must(MessageSubscriber::create(*node_, "$dlq/#", options));
  note('b', me());
  while (!asked_to_end) {
    Message message = letters->receive(in(50ms));
    if (!message) continue;
    note('l', std::string{message.text()});
    letters->acknowledge(std::move(message));
  }
}

void Actor::consume() {
  DurableConsumerOptions options;
  options.from_start = true;
  auto consumer =
      insist([&] { return DurableConsumer::create(*node_, "reader", "durable/#", options); });
  while (!asked_to_end) {
    Message message = consumer->receive(in(50ms));
    if (!message) continue;
    note('d', std::string{message.text()} + " " + me());
    consumer->acknowledge(std::move(message));
  }
}

void Actor::keep() {
  const std::string path = file_ + ".state";
  StateKeeperOptions options;
  options.store = [&](std::string_view, std::span<const std::byte> value, std::uint64_t revision,
                      bool) -> Result<void> {
    {
      std::ofstream out{path + ".new", std::ios::trunc};
      out << std::string_view{reinterpret_cast<const char*>(value.data()), value.size()} << " "
          << revision << "\n";
    }
    if (::rename((path + ".new").c_str(), path.c_str()) != 0) {
      return Error{Errc::system, errno, "rename"};
    }
    return {};
  };
  // The one before, which was killed, may still be known.
  auto keeper = insist([&] { return StateKeeper::create(*node_, "register", options); });
  if (!keeper) return;
  std::string value;
  std::uint64_t revision = 0;
  if (std::ifstream in_file{path}; in_file >> value >> revision) {
    if (!(*keeper)->restore("n", bytes(value), revision)) std::_Exit(5);
  }
  while (!asked_to_end) (void)(*keeper)->step(in(50ms));
}

void Actor::count() {
  auto state = must(State::create(*node_, "register"));
  while (!asked_to_end) {
    const StateValue is = state->get("n", {.deadline = in(2s)});
    const bool none = is.status.code == StatusCode::not_found;
    if (!is.status.ok() && !none) {
      std::this_thread::sleep_for(1ms);
      continue;
    }
    std::uint64_t value = 0;
    for (const std::byte digit : is.value)
      value = value * 10 + std::to_integer<unsigned>(digit) - '0';
    const std::string wanted = std::to_string(value + 1);
    const std::string number = next();
    note('i', number);
    const StateValue set =
        state->compare_and_set("n", bytes(wanted), none ? 0 : is.revision, {.deadline = in(2s)});
    if (set.status.ok()) {
      note('o', number + " " + wanted);
    } else {
      note(set.status.code == StatusCode::aborted ? 'f' : 'u', number);
    }
  }
}

}  // namespace
}  // namespace sluice::test

int main(int argc, char** argv) {
  using sluice::test::Actor;
  if (argc != 5 && argc != 6) return 2;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGTERM, [](int) { sluice::test::asked_to_end = true; });
  Actor actor{argv[1], argv[3], argv[4], argc == 6 ? argv[5] : ""};
  const std::string_view role = argv[2];
  if (role == "produce") actor.produce();
  if (role == "work") actor.work();
  if (role == "tell") actor.tell();
  if (role == "listen") actor.listen();
  if (role == "ask") actor.ask();
  if (role == "serve") actor.serve();
  if (role == "handle") actor.handle();
  if (role == "bury") actor.bury();
  if (role == "file") actor.file();
  if (role == "consume") actor.consume();
  if (role == "keep") actor.keep();
  if (role == "count") actor.count();
  return 0;
}
