// A process that chaos_test starts and kills: publishes, or subscribes to everything, until it is
// told to stop (SIGTERM: in order).
//
//   churn SOCKET publish TOPIC | churn SOCKET latest|next|reliable|group
//
// Dies at the kill point that SLUICE_KILL_AT names, where the build has them.
#include "sluice/node.hpp"

#include <signal.h>
#include <sys/prctl.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

namespace {

using namespace sluice;
using namespace std::chrono_literals;

volatile sig_atomic_t stopping = 0;

int publish(Node& node, const std::string& topic) {
  StreamOptions options;
  options.pools = {{256}, {64 * 1024, 4}};
  options.lanes = {{.depth = 16, .history = 1}};
  auto publisher = node.advertise(topic, options);
  if (!publisher) return std::fprintf(stderr, "%s\n", publisher.error().message.c_str()), 3;
  for (std::uint64_t number = 1; stopping == 0; ++number) {
    Loan loan = publisher->loan(number % 50 == 0 ? 40'000 : 64);
    if (loan) {
      std::memcpy(loan.data(), &number, sizeof number);
      publisher->publish(std::move(loan));
    }
    std::this_thread::sleep_for(500us);
  }
  return 0;
}

int subscribe(Node& node, DeliveryMode mode) {
  SubscriptionOptions options{.mode = mode, .max_held = 2};
  if (mode == DeliveryMode::group) options.group = "churn";
  auto subscriber = node.subscribe(mode == DeliveryMode::group ? "churn/#" : "#", options);
  if (!subscriber) return std::fprintf(stderr, "%s\n", subscriber.error().message.c_str()), 3;
  while (stopping == 0) {
    subscriber->wait_for(50ms);
    while (Sample sample = subscriber->take()) subscriber->acknowledge(std::move(sample));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGTERM, [](int) { stopping = 1; });
  NodeOptions options;
  options.name = "churn";
  options.socket = argv[1];
  options.connect_timeout = 20s;
  auto node = Node::create(std::move(options));
  if (!node) return std::fprintf(stderr, "%s\n", node.error().message.c_str()), 3;
  const std::string role = argv[2];
  if (role == "publish") return publish(*node, argv[3]);
  return subscribe(*node, role == "latest"  ? DeliveryMode::latest
                          : role == "next"  ? DeliveryMode::next
                          : role == "group" ? DeliveryMode::group
                                            : DeliveryMode::reliable);
}
