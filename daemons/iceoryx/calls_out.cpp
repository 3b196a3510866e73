// For each server in iceoryx that a rule wants: a client there, and a responder here, which exists
// as long as the two are connected: so who asks is told at once when there is nobody to ask.
#include "daemons/iceoryx/calls_out.hpp"

#include "daemons/common/log.hpp"
#include "daemons/iceoryx/runtime.hpp"
#include "sluice/responder.hpp"
#include "sluice/topic.hpp"
#include "transport/quote.hpp"

#include <iceoryx_posh/mepoo/chunk_header.hpp>
#include <iceoryx_posh/popo/rpc_header.hpp>
#include <iceoryx_posh/popo/untyped_client.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>
#include <vector>

namespace sluice::iceoryx {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using transport::quoted;

constexpr std::uint32_t kAlignment = 16;
constexpr auto kLook = 200ms;
constexpr std::uint64_t kMissingRounds = 3;
constexpr std::size_t kMostDoors = 64;

void on_response(iox::popo::UntypedClient* /*client*/, WaitSet* set) { set->interrupt(); }

}  // namespace

// One server in iceoryx.
class CallsOut::Door {
 public:
  Door(const ServiceIds& ids, const Service& service, std::string name, Shared& shared)
      : service_(service), name_(std::move(name)), shared_(shared), client_(description_of(ids)) {}
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;
  ~Door() { close(); }

  [[nodiscard]] iox::popo::UntypedClient& client() noexcept { return client_; }

  /// Opens and closes with the connection.
  void look(Node& node, WaitSet& set) {
    const bool connected = client_.getConnectionState() == iox::ConnectionState::CONNECTED;
    if (!connected) close();
    if (!connected || responder_ || refused_) return;
    ResponderOptions options;
    options.reply_bytes = service_.reply_bytes;
    options.max_held = service_.max_pending + 1;
    options.slow = service_.timeout;
    options.spin_ns = 0;
    auto made = Responder::create(
        node, name_, [this](Request& request) { ask(request); }, options, &set);
    if (!made) {
      refused_ = true;
      daemon::log_error("cannot serve " + quoted(name_) + ": " + made.error().message);
      return;
    }
    responder_ = std::move(*made);
    daemon::log_info("serving " + quoted(name_) + " by a server in iceoryx");
  }

  /// How many requests were taken and answered.
  std::size_t step() {
    if (!responder_) return 0;
    const std::size_t taken = responder_->step(Clock::now());
    std::size_t answered = 0;
    for (auto response = client_.take(); !response.has_error(); response = client_.take()) {
      answer(response.value());
      client_.releaseResponse(response.value());
      ++answered;
    }
    expire();
    return taken + answered;
  }

  std::uint64_t seen_in_round = 0;

 private:
  struct Pending {
    Request request;
    Clock::time_point deadline;
  };

  void ask(Request& request) {
    ++shared_.tally.calls;
    const auto payload = request.payload();
    if (pending_.size() >= service_.max_pending) {
      return refuse(request, {StatusCode::resource_exhausted, "the server in iceoryx has " +
                                                                  std::to_string(pending_.size()) +
                                                                  " requests to answer already"});
    }
    // No slot is larger than kMaxSlotBytes: the size fits.
    auto loan = client_.loan(static_cast<std::uint32_t>(payload.size()), kAlignment);
    if (loan.has_error()) {
      return refuse(request,
                    {StatusCode::resource_exhausted, "RouDi has no chunk for the request"});
    }
    iox::popo::RequestHeader::fromPayload(loan.value())->setSequenceId(next_);
    std::memcpy(loan.value(), payload.data(), payload.size());
    if (client_.send(loan.value()).has_error()) {
      return refuse(request, {StatusCode::unavailable, "the server in iceoryx is gone"});
    }
    const auto deadline = std::min<Deadline>(request.deadline(), Clock::now() + service_.timeout);
    pending_.emplace(next_++, Pending{std::move(request), deadline});
    ++shared_.tally.pending;
  }

  void answer(const void* response) {
    const auto* header = iox::popo::ResponseHeader::fromPayload(response);
    const auto found = pending_.find(header->getSequenceId());
    if (found == pending_.end()) return;  // it came too late
    const std::span<const std::byte> payload{
        static_cast<const std::byte*>(response),
        iox::mepoo::ChunkHeader::fromUserPayload(response)->userPayloadSize()};
    Request request = take_out(found);
    if (header->hasServerError()) {
      return refuse(request, {StatusCode::internal, "the server in iceoryx reports an error"});
    }
    MessageLoan loan = request.loan(payload.size());
    if (!loan) {
      return refuse(request, {StatusCode::resource_exhausted,
                              "the answer has " + std::to_string(payload.size()) +
                                  " bytes, and reply_bytes of this [[service]] are " +
                                  std::to_string(service_.reply_bytes)});
    }
    std::memcpy(loan.bytes().data(), payload.data(), payload.size());
    (void)request.reply(std::move(loan));
  }

  void expire() {
    const auto now = Clock::now();
    for (auto at = pending_.begin(); at != pending_.end();) {
      const auto next = std::next(at);
      if (at->second.deadline <= now || at->second.request.cancelled()) {
        Request request = take_out(at);
        refuse(request, {StatusCode::deadline_exceeded, "the server in iceoryx did not answer"});
      }
      at = next;
    }
  }

  void close() {
    while (!pending_.empty()) {
      Request request = take_out(pending_.begin());
      refuse(request, {StatusCode::unavailable, "the server in iceoryx is gone"});
    }
    if (responder_) daemon::log_info("nobody in iceoryx serves " + quoted(name_) + " any more");
    responder_.reset();
  }

  Request take_out(std::map<std::int64_t, Pending>::iterator at) {
    Request request = std::move(at->second.request);
    pending_.erase(at);
    --shared_.tally.pending;
    return request;
  }
  void refuse(Request& request, const Status& status) {
    ++shared_.tally.failed_calls;
    (void)request.reply(status);
  }

  const Service& service_;
  const std::string name_;
  Shared& shared_;
  iox::popo::UntypedClient client_;
  std::unique_ptr<Responder> responder_;
  std::map<std::int64_t, Pending> pending_;  // by sequence id; none without a responder
  std::int64_t next_ = 1;
  bool refused_ = false;
};

Result<std::unique_ptr<CallsOut>> CallsOut::create(Node& node, const Config& config,
                                                   Shared& shared) {
  auto set = WaitSet::create();
  if (!set) return std::move(set).error();
  std::unique_ptr<CallsOut> calls{new CallsOut(node, config, shared, std::move(*set))};
  calls->thread_ = std::thread{[c = calls.get()] { c->run(); }};
  return calls;
}

CallsOut::CallsOut(Node& node, const Config& config, Shared& shared, WaitSet set)
    : node_(node), config_(config), shared_(shared), set_(std::move(set)) {}

CallsOut::~CallsOut() {
  stop_ = true;
  set_.interrupt();
  if (thread_.joinable()) thread_.join();
}

void CallsOut::run() {
  Clock::time_point next_look{};
  while (!stop_) {
    std::size_t count = 0;
    for (const auto& [ids, door] : doors_) count += door->step();
    if (Clock::now() >= next_look) {
      discover();
      for (const auto& [ids, door] : doors_) door->look(node_, set_);
      next_look = Clock::now() + kLook;
    }
    if (count == 0) (void)set_.wait(next_look);
  }
}

void CallsOut::discover() {
  ++round_;
  for (const ServiceIds& ids : services(discovery_, iox::popo::MessagingPattern::REQ_RES)) {
    on_found(ids);
  }
  std::erase_if(doors_, [&](const auto& entry) {
    return round_ - entry.second->seen_in_round >= kMissingRounds;
  });
}

void CallsOut::on_found(const ServiceIds& ids) {
  const auto known = doors_.find(to_string(ids));
  if (known != doors_.end()) {
    known->second->seen_in_round = round_;
    return;
  }
  const auto is_ours = [&](const Service& service) {
    return service.from == Side::iceoryx && service.ids == ids;
  };
  const auto& services = config_.services;
  if (std::any_of(services.begin(), services.end(), is_ours) || doors_.size() >= kMostDoors) return;
  for (const Service& service : services) {
    if (service.from != Side::sluice || !matches(service.ids, ids)) continue;
    const std::string name =
        Template::parse(service.name, ids_placeholders())
            .value()
            .expand({as_level(ids.service), as_level(ids.instance), as_level(ids.event)});
    auto door = std::make_unique<Door>(ids, service, name, shared_);
    door->seen_in_round = round_;
    (void)listener_.attachEvent(door->client(), iox::popo::ClientEvent::RESPONSE_RECEIVED,
                                iox::popo::createNotificationCallback(on_response, set_));
    doors_[to_string(ids)] = std::move(door);
    return;
  }
}

}  // namespace sluice::iceoryx
