// Sluice, through its public API as a user has it: the shared library, the hand-shake over a socket
// pair, one stream per channel. Lossless channels are reliable subscriptions that acknowledge each
// message when it is released; the others take every entry and would count what they lost.
//
// Time stamps are on, as they are by default: every publish reads the clock. `sluice-bare` switches
// them off, to compare with peers that keep none.
#include "tests/bench/cell.hpp"

#include "sluice/publisher.hpp"
#include "sluice/subscriber.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

namespace sluice::bench {
namespace {

constexpr std::chrono::seconds kPatience{10};

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

void must(Result<void> result) {
  if (!result) throw std::runtime_error(result.error().message);
}

class SluiceSender {
 public:
  SluiceSender(const Channel& channel, std::vector<int> sockets, bool stamp)
      : publisher_(must(Publisher::create(options_for(channel, stamp)))),
        sockets_(std::move(sockets)) {}

  void connect() {
    for (const int socket : sockets_) must(publisher_.accept(socket, kPatience));
  }
  std::span<std::byte> prepare(std::size_t bytes) {
    loan_ = publisher_.loan(bytes);
    if (!loan_) throw std::runtime_error(std::string("loan: ") + to_string(loan_.outcome()));
    return loan_.bytes();
  }
  void send() { publisher_.publish(std::move(loan_)); }

 private:
  static StreamOptions options_for(const Channel& channel, bool stamp) {
    StreamOptions options;
    options.label = "bench";
    options.lanes[0].depth = channel.depth;
    options.pools = {{channel.message_bytes}};
    options.max_loans = 1;
    options.max_held = channel.readers;
    options.max_readers = channel.readers;
    options.stamp_publish_time = stamp;
    options.full_timeout_ns = 10'000'000'000;
    return options;
  }

  Publisher publisher_;
  Loan loan_;
  const std::vector<int> sockets_;
};

class SluiceReceiver {
 public:
  // Subscribes in a thread of its own: both roles of a ping-pong accept before they connect.
  SluiceReceiver(const Channel& channel, int socket)
      : lossless_(channel.lossless), connecting_([this, &channel, socket] {
          SubscriptionOptions options;
          options.mode = lossless_ ? DeliveryMode::reliable : DeliveryMode::next;
          options.max_held = 1;
          result_.emplace(Subscriber::connect(socket, options, kPatience));
        }) {}
  ~SluiceReceiver() {
    if (connecting_.joinable()) connecting_.join();
  }

  void connect() {
    connecting_.join();
    subscriber_.emplace(must(std::move(*result_)));
  }
  std::span<const std::byte> poll() {
    sample_ = subscriber_->take();
    if (!sample_ && sample_.outcome() == Outcome::ended) throw std::runtime_error("stream ended");
    return sample_.bytes();
  }
  std::span<const std::byte> wait() {
    if (const auto ready = poll(); !ready.empty()) return ready;
    if (subscriber_->wait_for(kPatience) == Outcome::ended) throw std::runtime_error("stream ended");
    return poll();
  }
  void release() {
    if (lossless_) {
      subscriber_->acknowledge(std::move(sample_));
    } else {
      sample_.release();
    }
  }

 private:
  const bool lossless_;
  std::optional<Result<Subscriber>> result_;
  std::optional<Subscriber> subscriber_;
  Sample sample_;
  std::thread connecting_;
};

class SluicePeer {
 public:
  explicit SluicePeer(const CellContext& cell) : stamp_(cell.peer != "sluice-bare") {
    for (const Channel& channel : cell.channels) {
      auto& pairs = sockets_.emplace_back();
      for (unsigned i = 0; i < channel.readers; ++i) {
        std::array<int, 2>& ends = pairs.emplace_back();
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
          throw std::system_error(errno, std::generic_category(), "socketpair");
        }
      }
    }
  }
  void enter(unsigned) {}
  auto sender(const Channel& channel) {
    std::vector<int> sockets;
    for (const auto& ends : sockets_[channel.index]) sockets.push_back(ends[0]);
    return std::make_unique<SluiceSender>(channel, std::move(sockets), stamp_);
  }
  auto receiver(const Channel& channel, unsigned reader) {
    return std::make_unique<SluiceReceiver>(channel, sockets_[channel.index][reader][1]);
  }
  std::vector<pid_t> daemons() { return {}; }

 private:
  const bool stamp_;
  std::vector<std::vector<std::array<int, 2>>> sockets_;  // by channel, by reader
};

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  using namespace sluice::bench;
  return cell_main(argc, argv,
                   {{"sluice", make_peer<SluicePeer>()}, {"sluice-bare", make_peer<SluicePeer>()}});
}
