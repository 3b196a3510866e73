// A request's chunk is held until it is answered, since the answer finds its way by what stands
// there. iceoryx lets a server hold a few at a time; more wait in its queue.
//
// iceoryx's responses have a mark for "the server failed", and no room for a reason. A refusal is
// one with that mark and a payload of zeros, as large as the largest answer: a client that does not
// look at the mark reads no memory that is not its own.
#include "daemons/iceoryx/calls_in.hpp"

#include "daemons/common/log.hpp"
#include "daemons/iceoryx/runtime.hpp"
#include "transport/quote.hpp"

#include <iceoryx_posh/mepoo/chunk_header.hpp>
#include <iceoryx_posh/popo/rpc_header.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <span>
#include <utility>

namespace sluice::iceoryx {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kAlignment = 16;
// How long a new request waits for notice while others are under way.
constexpr auto kSlice = 2ms;
constexpr std::size_t kMostRequests = iox::MAX_REQUESTS_PROCESSED_SIMULTANEOUSLY;

}  // namespace

Result<std::unique_ptr<CallsIn>> CallsIn::create(Node& node, const Service& service,
                                                 Shared& shared) {
  RequesterOptions options;
  options.request_bytes = service.request_bytes;
  options.timeout = service.timeout;
  options.max_calls = static_cast<std::uint32_t>(kMostRequests);
  options.spin_ns = 0;
  auto requester = Requester::create(node, service.name, options);
  if (!requester) return std::move(requester).error();
  std::unique_ptr<CallsIn> calls{new CallsIn(service, shared, std::move(*requester))};
  calls->thread_ = std::thread{[c = calls.get()] { c->run(); }};
  daemon::log_info("offering " + transport::quoted(service.name) + " to iceoryx as " +
                   transport::quoted(to_string(service.ids)));
  return calls;
}

CallsIn::CallsIn(const Service& service, Shared& shared, std::unique_ptr<Requester> requester)
    : service_(service),
      shared_(shared),
      requester_(std::move(requester)),
      server_(description_of(service.ids)) {
  (void)wait_set_.attachState(server_, iox::popo::ServerState::HAS_REQUEST);
}

CallsIn::~CallsIn() {
  stop_ = true;
  requester_->interrupt();
  if (thread_.joinable()) thread_.join();
}

void CallsIn::run() {
  while (!stop_) {
    while (pending_ < std::min<std::size_t>(kMostRequests, service_.max_pending)) {
      auto request = server_.take();
      if (request.has_error()) break;
      ask(request.value());
    }
    if (pending_ == 0) {
      (void)wait_set_.timedWait(iox::units::Duration::fromMilliseconds(100));
    } else {
      (void)requester_->step(std::chrono::steady_clock::now() + kSlice);
    }
  }
}

void CallsIn::ask(const void* request) {
  ++shared_.tally.calls;
  ++shared_.tally.pending;
  ++pending_;
  const auto* header = iox::mepoo::ChunkHeader::fromUserPayload(request);
  CallOptions options;
  options.deadline = std::chrono::steady_clock::now() + service_.timeout;
  requester_->start({static_cast<const std::byte*>(request), header->userPayloadSize()}, options,
                    [this, request](const Reply& reply) { answer(request, reply); });
}

void CallsIn::answer(const void* request, const Reply& reply) {
  --pending_;
  --shared_.tally.pending;
  if (!reply) {
    refuse(request, reply.status);
  } else {
    const auto payload = reply.payload();
    auto loan = server_.loan(iox::popo::RequestHeader::fromPayload(request),
                             static_cast<std::uint32_t>(payload.size()), kAlignment);
    if (loan.has_error()) {
      refuse(request, {StatusCode::resource_exhausted, "RouDi has no chunk for the answer"});
    } else {
      std::memcpy(loan.value(), payload.data(), payload.size());
      if (server_.send(loan.value()).has_error()) ++shared_.tally.failed_calls;
    }
  }
  server_.releaseRequest(request);
}

void CallsIn::refuse(const void* request, const Status& status) {
  ++shared_.tally.failed_calls;
  daemon::log_debug("a request of iceoryx's to " + transport::quoted(service_.name) +
                    " failed: " + to_string(status.code) + ": " + status.message);
  auto loan = server_.loan(iox::popo::RequestHeader::fromPayload(request), service_.reply_bytes,
                           kAlignment);
  if (loan.has_error()) return;  // the client's own timeout has to do
  std::memset(loan.value(), 0, service_.reply_bytes);
  iox::popo::ResponseHeader::fromPayload(loan.value())->setServerError();
  (void)server_.send(loan.value());
}

}  // namespace sluice::iceoryx
