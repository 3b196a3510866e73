// Sluice's bus as its documentation shows it, through a `sluiced` that is counted in processor time
// and memory; a node in each process, all options by default but those named here.
//
// - sluice-bus: MessagePublisher and MessageSubscriber, the message written and read in place
// behind
//   its envelope; reliable, acknowledged when it is released. Room for as many waiting messages as
//   its peers have. Requests by Requester and Responder, in place as well; the handler answers.
// - sluice-bus-batch: the same, 16 messages published at a time.
//
// Ids, trace, spans and time stamps are made for every message, as they always are.
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/requester.hpp"
#include "sluice/responder.hpp"
#include "tests/bench/broker.hpp"
#include "tests/bench/cell.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/process.hpp"

#include <array>
#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

namespace sluice::bench {
namespace {

constexpr const char* kTopic = "bench/messages";
constexpr const char* kService = "bench/echo";
constexpr std::chrono::seconds kPatience{10};
constexpr std::size_t kBatch = 16;

Deadline soon() { return std::chrono::steady_clock::now() + kPatience; }

void require_ok(Outcome outcome, const char* what) {
  if (outcome != Outcome::ok) {
    throw std::runtime_error(std::string(what) + ": " + to_string(outcome));
  }
}

class BusSender {
 public:
  BusSender(const Channel& channel, const std::string& socket, std::size_t batch)
      : node_(make_node("publisher", socket)),
        publisher_(must(MessagePublisher::create(node_, kTopic, options_for(channel, batch)))),
        readers_(channel.readers),
        batch_(batch) {}

  void connect() {
    while (publisher_.stream().subscriber_count() < readers_) sleep_until_ns(now_ns() + 1'000'000);
  }
  std::span<std::byte> prepare(std::size_t bytes) {
    MessageLoan& loan = loans_[waiting_];
    loan = publisher_.loan(bytes);
    if (!loan) require_ok(loan.outcome(), "loan");
    return loan.bytes();
  }
  void send() {
    if (batch_ == 1) return require_ok(publisher_.publish(std::move(loans_[0])), "publish");
    if (++waiting_ == batch_) flush();
  }
  void flush() {
    require_ok(publisher_.publish(std::span{loans_}.first(waiting_)), "publish");
    waiting_ = 0;
  }

 private:
  static MessagePublisherOptions options_for(const Channel& channel, std::size_t batch) {
    MessagePublisherOptions options;
    options.stream = message_stream(channel.message_bytes, channel.depth);
    options.stream.max_loans = static_cast<std::uint32_t>(batch);
    options.stream.max_held = channel.readers * SubscriptionOptions{}.max_held;
    options.stream.full_timeout_ns = 10'000'000'000;
    return options;
  }

  Node node_;
  MessagePublisher publisher_;
  const std::size_t readers_;
  const std::size_t batch_;
  std::array<MessageLoan, kBatch> loans_;
  std::size_t waiting_ = 0;
};

class BusReceiver {
 public:
  BusReceiver(unsigned reader, const std::string& socket)
      : node_(make_node("reader-" + std::to_string(reader), socket)),
        subscriber_(must(MessageSubscriber::create(
            node_, kTopic, {.subscription = {.mode = DeliveryMode::reliable}}))) {}

  void connect() {
    while (subscriber_.stream().stream_count() == 0) sleep_until_ns(now_ns() + 1'000'000);
  }
  std::span<const std::byte> poll() {
    message_ = subscriber_.take();
    if (message_) return message_.payload();
    if (message_.outcome() == Outcome::evicted) throw std::runtime_error("evicted");
    return {};
  }
  std::span<const std::byte> wait() {
    if (const auto ready = poll(); !ready.empty()) return ready;
    (void)subscriber_.wait(soon());
    return poll();
  }
  void release() { subscriber_.acknowledge(std::move(message_)); }

 private:
  Node node_;
  MessageSubscriber subscriber_;
  Message message_;
};

class BusClient {
 public:
  BusClient(const Channel& channel, const std::string& socket)
      : node_(make_node("client", socket)),
        requester_(
            must(Requester::create(node_, kService, {.request_bytes = channel.message_bytes}))) {}

  void connect() {
    while (requester_->worker_count() == 0) sleep_until_ns(now_ns() + 1'000'000);
  }
  std::span<std::byte> prepare(std::size_t bytes) {
    loan_ = requester_->loan(bytes);
    if (!loan_) require_ok(loan_.outcome(), "loan");
    return loan_.bytes();
  }
  void send() { call_ = requester_->start(std::move(loan_)); }
  std::span<const std::byte> poll() {
    return call_.ready() ? wait() : std::span<const std::byte>{};
  }
  std::span<const std::byte> wait() {
    reply_ = call_.get();
    if (!reply_) throw std::runtime_error("reply: " + reply_.status.message);
    return reply_.payload();
  }
  void release() { reply_ = Reply{}; }

 private:
  Node node_;
  std::unique_ptr<Requester> requester_;
  MessageLoan loan_;
  Call call_;
  Reply reply_;
};

/// What the handler throws the client is told, and ends.
class BusServer {
 public:
  BusServer(const Channel& channel, const std::string& socket)
      : node_(make_node("server", socket)),
        responder_(
            must(Responder::create(node_, kService, [this](Request& request) { handle(request); },
                                   {.reply_bytes = channel.message_bytes}))) {}

  void connect() {}
  void serve(Waiting waiting, const Answer& answer) {
    answer_ = &answer;
    while (more_) (void)responder_->step(waiting == Waiting::kPoll ? Deadline{} : soon());
  }

 private:
  void handle(Request& request) {
    MessageLoan loan;
    more_ = (*answer_)(request.payload(), [&](std::size_t bytes) {
      loan = request.loan(bytes);
      if (!loan) require_ok(loan.outcome(), "loan of a reply");
      return loan.bytes();
    });
    require_ok(request.reply(std::move(loan)), "reply");
  }

  Node node_;
  const Answer* answer_ = nullptr;
  bool more_ = true;
  std::unique_ptr<Responder> responder_;
};

class BusPeer {
 public:
  explicit BusPeer(const CellContext& cell)
      : broker_(cell.directory), batch_(cell.peer == "sluice-bus-batch" ? kBatch : 1) {}
  void enter(unsigned) {}
  auto sender(const Channel& channel) {
    return std::make_unique<BusSender>(channel, broker_.socket(), batch_);
  }
  auto receiver(const Channel&, unsigned reader) {
    return std::make_unique<BusReceiver>(reader, broker_.socket());
  }
  auto asker(const Channel& channel) {
    return std::make_unique<BusClient>(channel, broker_.socket());
  }
  auto answerer(const Channel& channel) {
    return std::make_unique<BusServer>(channel, broker_.socket());
  }
  std::vector<pid_t> daemons() { return {broker_.pid()}; }

 private:
  Broker broker_;
  const std::size_t batch_;
};

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  using namespace sluice::bench;
  return cell_main(
      argc, argv,
      {{"sluice-bus", make_peer<BusPeer>()}, {"sluice-bus-batch", make_peer<BusPeer>()}});
}
