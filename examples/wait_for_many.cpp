// One thread waits for two streams, and for its own event loop's descriptors, with poll(2).
//
//   wait_for_many        takes five messages from each of two child processes and ends
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <sluice/publisher.hpp>
#include <sluice/subscriber.hpp>
#include <thread>
#include <vector>

namespace {

constexpr std::uint64_t kMessages = 5;

int publish_slowly(int socket, std::chrono::milliseconds period) {
  sluice::StreamOptions options;
  options.pools = {{sizeof(std::uint64_t)}};
  auto publisher = sluice::Publisher::create(options);
  if (!publisher || !publisher->accept(socket)) return 1;
  for (std::uint64_t i = 1; i <= kMessages; ++i) {
    std::this_thread::sleep_for(period);
    sluice::Loan loan = publisher->loan(sizeof i);
    if (!loan) return 1;
    std::memcpy(loan.data(), &i, sizeof i);
    publisher->publish(std::move(loan));
  }
  return 0;
}

}  // namespace

int main() {
  std::vector<int> sockets;
  for (const int period_ms : {10, 25}) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends.data()) != 0) return 1;
    const pid_t child = ::fork();
    if (child < 0) return 1;
    if (child == 0) return publish_slowly(ends[1], std::chrono::milliseconds{period_ms});
    sockets.push_back(ends[0]);
  }

  auto set = sluice::WaitSet::create();
  if (!set) return std::fprintf(stderr, "%s\n", set.error().message.c_str()), 1;
  std::vector<sluice::Subscriber> subscribers;
  for (const int socket : sockets) {
    auto subscriber =
        sluice::Subscriber::connect(socket, {.mode = sluice::DeliveryMode::reliable}, *set);
    if (!subscriber) return std::fprintf(stderr, "%s\n", subscriber.error().message.c_str()), 1;
    subscribers.push_back(std::move(*subscriber));
  }

  std::uint64_t taken = 0;
  while (taken < kMessages * subscribers.size()) {
    if (set->arm()) {  // false: there is something already
      std::array<pollfd, 1> descriptors{{{set->fd(), POLLIN, 0}}};  // and those of your loop
      if (::poll(descriptors.data(), descriptors.size(), 5000) == 0) return 1;
    }
    set->disarm();
    for (std::size_t i = 0; i < subscribers.size(); ++i) {
      while (sluice::Sample sample = subscribers[i].take()) {
        std::uint64_t number = 0;
        std::memcpy(&number, sample.data(), sizeof number);
        std::printf("stream %zu: %llu\n", i, static_cast<unsigned long long>(number));
        subscribers[i].acknowledge(sample);
        ++taken;
      }
    }
  }
  int failures = 0;
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    int status = 0;
    ::wait(&status);
    if (status != 0) ++failures;
  }
  return failures;
}
