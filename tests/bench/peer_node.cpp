// Sluice as a system has it: a broker, `sluiced`, that is counted in processor time and memory; a
// node in each process; publisher and subscribers that find each other by topic. The stream has the
// same options as the one of `sluice` (peer_sluice.cpp), for which the hand-shake goes over a
// socket pair, and time stamps are on.
#include "sluice/node.hpp"
#include "tests/bench/broker.hpp"
#include "tests/bench/cell.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/process.hpp"

#include <stdexcept>
#include <string>
#include <utility>

namespace sluice::bench {
namespace {

constexpr std::chrono::seconds kPatience{10};

std::string topic_of(const Channel& channel) {
  return "camera/" + std::to_string(channel.index) + "/frames";
}

class NodeSender {
 public:
  NodeSender(const Channel& channel, const std::string& socket)
      : node_(make_node("camera", socket)),
        publisher_(must(node_.advertise(topic_of(channel), options_for(channel)))),
        readers_(channel.readers) {}

  void connect() {
    while (publisher_.subscriber_count() < readers_) sleep_until_ns(now_ns() + 1'000'000);
  }
  std::span<std::byte> prepare(std::size_t bytes) {
    loan_ = publisher_.loan(bytes);
    if (!loan_) throw std::runtime_error(std::string("loan: ") + to_string(loan_.outcome()));
    return loan_.bytes();
  }
  void send() {
    const Outcome outcome = publisher_.publish(std::move(loan_));
    if (outcome != Outcome::ok) {
      throw std::runtime_error(std::string("publish: ") + to_string(outcome));
    }
  }

 private:
  static StreamOptions options_for(const Channel& channel) {
    StreamOptions options;
    options.label = "bench";
    options.lanes[0].depth = channel.depth;
    options.pools = {{channel.message_bytes}};
    options.max_loans = 1;
    options.max_held = channel.readers;
    options.max_readers = channel.readers;
    return options;
  }

  Node node_;
  Publisher publisher_;
  Loan loan_;
  const std::size_t readers_;
};

class NodeReceiver {
 public:
  NodeReceiver(const Channel& channel, unsigned reader, const std::string& socket)
      : node_(make_node("consumer-" + std::to_string(reader), socket)),
        subscriber_(must(node_.subscribe("camera/+/frames", {.max_held = 1}))) {
    if (channel.lossless) throw std::runtime_error("sluice-node takes part where frames may drop");
  }

  void connect() {
    while (subscriber_.stream_count() == 0) sleep_until_ns(now_ns() + 1'000'000);
  }
  std::span<const std::byte> poll() {
    sample_ = subscriber_.take();
    if (!sample_ && sample_.outcome() == Outcome::evicted) throw std::runtime_error("evicted");
    return sample_.bytes();
  }
  std::span<const std::byte> wait() {
    if (const auto ready = poll(); !ready.empty()) return ready;
    (void)subscriber_.wait_for(kPatience);
    return poll();
  }
  void release() { sample_.release(); }

 private:
  Node node_;
  Subscriber subscriber_;
  Sample sample_;
};

class NodePeer {
 public:
  explicit NodePeer(const CellContext& cell) : broker_(cell.directory) {}
  void enter(unsigned) {}
  auto sender(const Channel& channel) {
    return std::make_unique<NodeSender>(channel, broker_.socket());
  }
  auto receiver(const Channel& channel, unsigned reader) {
    return std::make_unique<NodeReceiver>(channel, reader, broker_.socket());
  }
  std::vector<pid_t> daemons() { return {broker_.pid()}; }

 private:
  Broker broker_;
};

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  using namespace sluice::bench;
  return cell_main(argc, argv, {{"sluice-node", make_peer<NodePeer>()}});
}
