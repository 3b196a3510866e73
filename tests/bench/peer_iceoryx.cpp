// iceoryx 2.0.3 (the version of Debian 12), used as its documentation recommends:
//
// - The untyped C++ publisher and subscriber: loan, publish, take, release; the chunk is the
// message.
// - Polling is take() in a loop. Blocking is a WaitSet with the state HAS_DATA attached, in which a
//   reader waits when there is nothing to take. (One that waits in it before every message may
//   sleep for ever beside a message that is there, when the publisher waits for several readers.)
// - Lossless is WAIT_FOR_CONSUMER with BLOCK_PRODUCER: the publisher spins (with sched_yield) in
// publish()
//   while the queue is full.
// - Requests use the untyped client and server, with sequence ids as its examples set them, a
//   WaitSet at both ends when blocking.
// - RouDi runs for this measurement only, with pools for the sizes of the workloads and its
// defaults
//   otherwise (monitoring is on). Frames are the fewest that cannot run out: a chunk on
//   loan, one that the publisher keeps for its next loan, one held by each reader, those that wait;
//   but eight at least.
#include "iceoryx_posh/popo/untyped_client.hpp"
#include "iceoryx_posh/popo/untyped_publisher.hpp"
#include "iceoryx_posh/popo/untyped_server.hpp"
#include "iceoryx_posh/popo/untyped_subscriber.hpp"
#include "iceoryx_posh/popo/wait_set.hpp"
#include "iceoryx_posh/runtime/posh_runtime.hpp"
#include "tests/bench/cell.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/process.hpp"
#include "tests/bench/roudi.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace sluice::bench {
namespace {

unsigned frames_for(const Workload& workload) {
  if (workload.message_bytes != kFrameBytes) return 1;
  return std::max(8U, workload.depth + workload.readers + 2);
}

RoudiPools pools_for(const Workload& workload) {
  RoudiPools pools{{64, 512}, {4096, 64}, {kFrameBytes, frames_for(workload)}};
  // A request's header goes into its chunk.
  if (workload.is_on_bus()) pools.insert(pools.begin() + 1, {256, 512});
  return pools;
}

// ---- the ends

iox::capro::ServiceDescription service_of(const Channel& channel) {
  using iox::capro::IdString_t;
  return {IdString_t("sluice"), IdString_t("bench"),
          channel.index == 0 ? IdString_t("out") : IdString_t("back")};
}

class IceoryxSender {
 public:
  explicit IceoryxSender(const Channel& channel)
      : publisher_(service_of(channel), options_of(channel)) {}

  void connect() {
    while (!publisher_.hasSubscribers()) sleep_until_ns(now_ns() + 1'000'000);
  }
  std::span<std::byte> prepare(std::size_t bytes) {
    auto loan = publisher_.loan(static_cast<std::uint32_t>(bytes));
    if (loan.has_error()) throw std::runtime_error("iceoryx: loan failed");
    chunk_ = loan.value();
    return {static_cast<std::byte*>(chunk_), bytes};
  }
  void send() { publisher_.publish(chunk_); }

 private:
  static iox::popo::PublisherOptions options_of(const Channel& channel) {
    iox::popo::PublisherOptions options;
    if (channel.lossless) {
      options.subscriberTooSlowPolicy = iox::popo::ConsumerTooSlowPolicy::WAIT_FOR_CONSUMER;
    }
    return options;
  }

  iox::popo::UntypedPublisher publisher_;
  void* chunk_ = nullptr;
};

class IceoryxReceiver {
 public:
  explicit IceoryxReceiver(const Channel& channel)
      : subscriber_(service_of(channel), options_of(channel)), bytes_(channel.message_bytes) {
    if (channel.waiting == Waiting::kPoll) return;
    wait_set_.emplace();
    if (wait_set_->attachState(subscriber_, iox::popo::SubscriberState::HAS_DATA).has_error()) {
      throw std::runtime_error("iceoryx: attaching to the WaitSet failed");
    }
  }

  void connect() {
    while (subscriber_.getSubscriptionState() != iox::SubscribeState::SUBSCRIBED) {
      sleep_until_ns(now_ns() + 1'000'000);
    }
  }
  std::span<const std::byte> poll() {
    auto taken = subscriber_.take();
    if (taken.has_error()) {
      if (taken.get_error() == iox::popo::ChunkReceiveResult::NO_CHUNK_AVAILABLE) return {};
      throw std::runtime_error("iceoryx: take failed");
    }
    chunk_ = taken.value();
    return {static_cast<const std::byte*>(chunk_), bytes_};
  }
  std::span<const std::byte> wait() {
    if (const auto ready = poll(); !ready.empty()) return ready;
    wait_set_->wait();
    return poll();
  }
  void release() { subscriber_.release(chunk_); }

 private:
  static iox::popo::SubscriberOptions options_of(const Channel& channel) {
    iox::popo::SubscriberOptions options;
    options.queueCapacity = channel.depth;
    if (channel.lossless) options.queueFullPolicy = iox::popo::QueueFullPolicy::BLOCK_PRODUCER;
    return options;
  }

  iox::popo::UntypedSubscriber subscriber_;
  std::optional<iox::popo::WaitSet<1>> wait_set_;
  const std::size_t bytes_;
  const void* chunk_ = nullptr;
};

iox::capro::ServiceDescription request_service() {
  using iox::capro::IdString_t;
  return {IdString_t("sluice"), IdString_t("bench"), IdString_t("request")};
}

constexpr std::uint32_t kAlignment = 8;

class IceoryxClient {
 public:
  explicit IceoryxClient(const Channel& channel)
      : client_(request_service()), bytes_(channel.message_bytes) {
    if (channel.waiting == Waiting::kPoll) return;
    wait_set_.emplace();
    if (wait_set_->attachState(client_, iox::popo::ClientState::HAS_RESPONSE).has_error()) {
      throw std::runtime_error("iceoryx: attaching to the WaitSet failed");
    }
  }

  void connect() {
    while (client_.getConnectionState() != iox::ConnectionState::CONNECTED) {
      sleep_until_ns(now_ns() + 1'000'000);
    }
  }
  std::span<std::byte> prepare(std::size_t bytes) {
    auto loan = client_.loan(static_cast<std::uint32_t>(bytes), kAlignment);
    if (loan.has_error()) throw std::runtime_error("iceoryx: loan of a request failed");
    request_ = loan.value();
    iox::popo::RequestHeader::fromPayload(request_)->setSequenceId(++sequence_);
    return {static_cast<std::byte*>(request_), bytes};
  }
  void send() {
    if (client_.send(request_).has_error()) {
      throw std::runtime_error("iceoryx: sending a request failed");
    }
  }
  std::span<const std::byte> poll() {
    auto taken = client_.take();
    if (taken.has_error()) {
      if (taken.get_error() == iox::popo::ChunkReceiveResult::NO_CHUNK_AVAILABLE) return {};
      throw std::runtime_error("iceoryx: take of a response failed");
    }
    response_ = taken.value();
    if (iox::popo::ResponseHeader::fromPayload(response_)->getSequenceId() != sequence_) {
      throw std::runtime_error("verification: the response to another request");
    }
    return {static_cast<const std::byte*>(response_), bytes_};
  }
  std::span<const std::byte> wait() {
    wait_set_->wait();
    return poll();
  }
  void release() { client_.releaseResponse(response_); }

 private:
  iox::popo::UntypedClient client_;
  std::optional<iox::popo::WaitSet<1>> wait_set_;
  const std::size_t bytes_;
  std::int64_t sequence_ = 0;
  void* request_ = nullptr;
  const void* response_ = nullptr;
};

class IceoryxServer {
 public:
  explicit IceoryxServer(const Channel& channel)
      : server_(request_service()), bytes_(channel.message_bytes) {
    if (channel.waiting == Waiting::kPoll) return;
    wait_set_.emplace();
    if (wait_set_->attachState(server_, iox::popo::ServerState::HAS_REQUEST).has_error()) {
      throw std::runtime_error("iceoryx: attaching to the WaitSet failed");
    }
  }

  void connect() {
    while (!server_.hasClients()) sleep_until_ns(now_ns() + 1'000'000);
  }
  std::span<const std::byte> poll() {
    auto taken = server_.take();
    if (taken.has_error()) {
      if (taken.get_error() == iox::popo::ServerRequestResult::NO_PENDING_REQUESTS) return {};
      throw std::runtime_error("iceoryx: take of a request failed");
    }
    request_ = taken.value();
    return {static_cast<const std::byte*>(request_), bytes_};
  }
  std::span<const std::byte> wait() {
    wait_set_->wait();
    return poll();
  }
  std::span<std::byte> prepare(std::size_t bytes) {
    auto loan = server_.loan(iox::popo::RequestHeader::fromPayload(request_),
                             static_cast<std::uint32_t>(bytes), kAlignment);
    if (loan.has_error()) throw std::runtime_error("iceoryx: loan of a response failed");
    response_ = loan.value();
    return {static_cast<std::byte*>(response_), bytes};
  }
  void send() {
    if (server_.send(response_).has_error()) {
      throw std::runtime_error("iceoryx: sending a response failed");
    }
  }
  void release() { server_.releaseRequest(request_); }

 private:
  iox::popo::UntypedServer server_;
  std::optional<iox::popo::WaitSet<1>> wait_set_;
  const std::size_t bytes_;
  const void* request_ = nullptr;
  void* response_ = nullptr;
};

class Iceoryx {
 public:
  explicit Iceoryx(const CellContext& cell) : roudi_(cell.directory, pools_for(cell.workload)) {}

  void enter(unsigned role) {
    iox::runtime::PoshRuntime::initRuntime(
        iox::RuntimeName_t(iox::cxx::TruncateToCapacity, "bench-role-" + std::to_string(role)));
  }
  auto sender(const Channel& channel) { return std::make_unique<IceoryxSender>(channel); }
  auto receiver(const Channel& channel, unsigned) {
    return std::make_unique<IceoryxReceiver>(channel);
  }
  auto asker(const Channel& channel) { return std::make_unique<IceoryxClient>(channel); }
  auto answerer(const Channel& channel) { return std::make_unique<IceoryxServer>(channel); }
  std::vector<pid_t> daemons() { return {roudi_.pid()}; }

 private:
  Roudi roudi_;
};

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  using namespace sluice::bench;
  return cell_main(argc, argv, {{"iceoryx", make_peer<Iceoryx>()}});
}
