// The main thread: what comes from iceoryx, the link to the keeper, and a look at RouDi now and
// then, since iceoryx itself does not tell when it is gone. What goes to iceoryx, and each service,
// has a thread of its own.
#include "daemons/iceoryx/worker.hpp"

#include "daemons/common/log.hpp"
#include "daemons/iceoryx/calls_in.hpp"
#include "daemons/iceoryx/calls_out.hpp"
#include "daemons/iceoryx/egress.hpp"
#include "daemons/iceoryx/ingress.hpp"
#include "daemons/iceoryx/link.hpp"
#include "daemons/iceoryx/pulse.hpp"
#include "daemons/iceoryx/roudi.hpp"
#include "daemons/iceoryx/runtime.hpp"
#include "daemons/iceoryx/shared.hpp"
#include "daemons/iceoryx/worker_process.hpp"
#include "sluice/node.hpp"
#include "sluice/version.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::iceoryx {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// For an orderly end, in which iceoryx talks to RouDi once more and may wait for ever.
constexpr unsigned kPatienceSeconds = 3;

// SIGTERM comes from RouDi when it ends. Before the first thread is started.
shm::UniqueFd catch_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return shm::UniqueFd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
}

Result<Node> connect(const Config& config) {
  NodeOptions options;
  options.name = config.node + "-worker";
  options.socket = config.socket;
  options.capabilities = {"iceoryx"};
  options.version = std::to_string(kVersionMajor) + "." + std::to_string(kVersionMinor) + "." +
                    std::to_string(kVersionPatch);
  options.log = [](LogLevel level, std::string_view text) {
    daemon::log(level, std::string(text));
  };
  return Node::create(options);
}

class Worker {
 public:
  Worker(const Config& config, Link link, shm::UniqueFd signal_fd, Roudi roudi)
      : config_(config),
        link_(std::move(link)),
        signal_fd_(std::move(signal_fd)),
        roudi_(roudi),
        ingress_(config, link_, shared_) {}

  Result<void> start(Node& node) {
    auto egress = Egress::create(node, config_, shared_);
    if (!egress) return std::move(egress).error();
    egress_ = std::move(*egress);
    for (const Service& service : config_.services) {
      if (service.from != Side::iceoryx) continue;
      auto calls = CallsIn::create(node, service, shared_);
      if (!calls) return std::move(calls).error();
      calls_in_.push_back(std::move(*calls));
    }
    const auto is_outward = [](const Service& service) { return service.from == Side::sluice; };
    if (std::any_of(config_.services.begin(), config_.services.end(), is_outward)) {
      auto calls = CallsOut::create(node, config_, shared_);
      if (!calls) return std::move(calls).error();
      calls_out_ = std::move(*calls);
    }
    return {};
  }

  int run() {
    for (;;) {
      const int asked = wait();
      if (pulse_.has_stopped()) return kWorkerOrphaned;
      listen();
      if (!link_.open()) return kWorkerDone;
      if (asked != 0) return kWorkerAsked;
      ingress_.take();
      if (Clock::now() < next_beat_) continue;
      if (find_roudi() != roudi_) return kWorkerOrphaned;
      ingress_.discover();
      beat();
    }
  }

 private:
  // A signal that came, or 0.
  int wait() {
    std::array<pollfd, 3> fds{
        {{ingress_.fd(), POLLIN, 0}, {link_.fd(), POLLIN, 0}, {signal_fd_.get(), POLLIN, 0}}};
    const auto patience = std::chrono::ceil<std::chrono::milliseconds>(next_beat_ - Clock::now());
    (void)::poll(fds.data(), fds.size(),
                 static_cast<int>(std::clamp<std::int64_t>(patience.count(), 0, kBeat.count())));
    signalfd_siginfo info{};
    const bool has_come =
        ::read(signal_fd_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info);
    return has_come ? static_cast<int>(info.ssi_signo) : 0;
  }

  void listen() {
    while (auto received = link_.receive()) {
      if (received->packet.say == Say::stream) {
        shared_.own_streams.add(received->packet.stream_id);
      } else {
        ingress_.handle(*received);
      }
    }
  }

  void beat() {
    next_beat_ = Clock::now() + kBeat;
    Packet packet;
    packet.say = Say::counts;
    packet.counts = shared_.tally.counts();
    (void)link_.send(packet);
  }

  Pulse pulse_;
  const Config& config_;
  Shared shared_;
  Link link_;
  shm::UniqueFd signal_fd_;
  const Roudi roudi_;
  Ingress ingress_;
  std::unique_ptr<Egress> egress_;
  std::vector<std::unique_ptr<CallsIn>> calls_in_;
  std::unique_ptr<CallsOut> calls_out_;
  Clock::time_point next_beat_{};
};

int run_registered(const Config& config, Link link, shm::UniqueFd signal_fd, Roudi roudi) {
  auto node = connect(config);
  if (!node) {
    daemon::log_error(node.error().message);
    return 1;
  }
  Worker worker{config, std::move(link), std::move(signal_fd), roudi};
  if (auto started = worker.start(*node); !started) {
    daemon::log_error(started.error().message);
    return 1;
  }
  const int code = worker.run();
  // RouDi is gone, so nobody shall be told; and chunks that Sluice's readers hold must stay as they
  // are, which holds as long as nobody releases them.
  if (code == kWorkerOrphaned) ::_exit(code);
  ::alarm(kPatienceSeconds);
  return code;
}

}  // namespace

int run_worker(const Config& config, int link_fd) {
  shm::UniqueFd signal_fd = catch_signals();
  const auto roudi = find_roudi();
  if (!roudi) return kWorkerOrphaned;
  start_runtime(config.runtime);
  return run_registered(config, Link{shm::UniqueFd{link_fd}}, std::move(signal_fd), *roudi);
}

}  // namespace sluice::iceoryx
