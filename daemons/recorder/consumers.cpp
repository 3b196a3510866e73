// One thread goes round: for each consumer take in what was acknowledged, read on, publish what
// there is room for. Acknowledgements make no noise here, so that while some are due the round is
// repeated after a pause, from 1 ms growing to 16.
#include "daemons/recorder/consumers.hpp"

#include "daemons/common/log.hpp"
#include "daemons/recorder/convert.hpp"
#include "daemons/recorder/json.hpp"
#include "shm/kill_point.hpp"
#include "sluice/correlation.hpp"
#include "sluice/topic.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace sluice::recorder {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr const char* kService = "recorder/consume";
constexpr const char* kMembers = "$durable";
constexpr std::uint32_t kDepth = 256;
constexpr std::uint32_t kLargeSlots = 4;    // of a size that comes now and then
constexpr std::uint32_t kMaxSlots = 1'024;  // with the pools that these make
constexpr std::size_t kMaxConsumers = 256;
constexpr std::size_t kMaxNameBytes = 63;

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name.find('/') == std::string::npos &&
         check_topic("$durable/" + name).has_value();
}

std::string dumped(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

Result<std::unique_ptr<Consumers>> Consumers::create(Node& node, Store& store, Archive archive,
                                                     ConsumersOptions options) {
  auto set = WaitSet::create();
  if (!set) return std::move(set).error();
  std::unique_ptr<Consumers> made{
      new Consumers(node, store, std::move(archive), options, std::move(set).value())};
  if (auto started = made->start(); !started) return started.error();
  return made;
}

Consumers::~Consumers() = default;

Result<void> Consumers::start() {
  ResponderOptions options;
  options.reply_bytes = 4'096;
  options.codec = Codec::json;
  options.spin_ns = 0;
  auto responder = Responder::create(
      node_, kService, [this](Request& request) { serve(request); }, options, &set_);
  if (!responder) return std::move(responder).error();
  responder_ = std::move(responder).value();
  // Those that were there before: whoever of them comes again finds its stream.
  if (auto known = store_.consumers()) {
    for (const Consumer& consumer : *known) (void)add(consumer);
  }
  return {};
}

// {"name": "billing", "filter": "orders/#", "from": "start" or "now"}: {"topic", "row"};
// {"name": "billing", "forget": true}: {"forgotten": bool}.
void Consumers::serve(Request& request) {
  const json asked = parse_json(request.text());
  const auto text = [&](const char* key) {
    const auto found = asked.is_object() ? asked.find(key) : asked.end();
    return asked.is_object() && found != asked.end() && found->is_string()
               ? found->get<std::string>()
               : std::string{};
  };
  const std::string name = text("name"), filter = text("filter");
  if (!is_name(name)) {
    (void)request.reply(
        Status{StatusCode::invalid_argument, "\"name\" is one level of a topic, at most 63 bytes"});
    return;
  }
  if (asked.value("forget", json{}) == true) {
    all_.erase(name);
    const auto forgotten = store_.forget_consumer(name);
    if (!forgotten) {
      (void)request.reply(Status{StatusCode::unavailable, forgotten.error().message});
      return;
    }
    (void)request.reply(dumped({{"forgotten", *forgotten}}));
    return;
  }
  if (const auto checked = check_filter(filter); !checked) {
    (void)request.reply(Status{StatusCode::invalid_argument, checked.error().message});
    return;
  }
  if (!all_.contains(name) && all_.size() >= kMaxConsumers) {
    (void)request.reply(Status{StatusCode::resource_exhausted,
                               "there are 256 durable consumers; forget one of them"});
    return;
  }
  const auto consumer = store_.register_consumer(name, filter, text("from") == "start");
  if (!consumer) {
    const bool refused = consumer.error().code == Errc::refused;
    (void)request.reply(Status{refused ? StatusCode::failed_precondition : StatusCode::unavailable,
                               consumer.error().message});
    return;
  }
  if (const Status added = add(*consumer); !added.ok()) {
    (void)request.reply(added);
    return;
  }
  (void)request.reply(dumped({{"topic", "$durable/" + name}, {"row", all_.at(name).place}}));
}

Status Consumers::add(const Consumer& consumer) {
  const auto [found, is_new] = all_.try_emplace(consumer.name);
  if (!is_new) return {};
  One& one = found->second;
  one.filter = consumer.filter;
  one.place = one.cursor = consumer.acknowledged;
  if (advertise(consumer.name, one)) return {};
  Status status{StatusCode::unavailable, one.trouble};
  all_.erase(found);
  return status;
}

bool Consumers::advertise(const std::string& name, One& one) {
  StreamOptions options;
  options.label = "durable";
  options.lanes = {{kDepth, 0}};
  options.pools = {{1'024 + kMaxHeaderBytes / 4, 0},
                   {options_.max_message_bytes + kMaxHeaderBytes, 8}};
  options.max_slots = kMaxSlots;
  options.max_loans = 1;
  options.max_held = 64;
  options.max_readers = 16;
  options.on_full = OnFull::fail;
  options.offered = {false, false, false, true};
  auto publisher = node_.advertise("$durable/" + name, options);
  if (!publisher) {
    if (one.trouble != publisher.error().message) {
      one.trouble = publisher.error().message;
      daemon::log_warning("durable consumer '" + name + "': " + one.trouble);
    }
    return false;
  }
  one.publisher = std::move(publisher).value();
  return true;
}

void Consumers::step(Deadline deadline) {
  bool moved = false, due = false;
  for (auto& [name, one] : all_) {
    moved = advance(name, one) || moved;
    due = due || !one.sent.empty();
  }
  pause_ = moved ? 1ms : std::min(pause_ * 2, 16ms);
  if (due || moved) deadline = std::min(deadline, std::chrono::steady_clock::now() + pause_);
  (void)responder_->step(deadline);
}

// Whether anything happened.
bool Consumers::advance(const std::string& name, One& one) {
  if (!one.publisher && !advertise(name, one)) return false;
  bool moved = collect(name, one);
  if (one.publisher->acknowledging_count() == 0) {
    if (!one.sent.empty()) begin_again(name, one);
    return moved;
  }
  moved = fill(one) || moved;
  return publish(name, one) || moved;
}

// Moves the place behind what is acknowledged, without a gap.
bool Consumers::collect(const std::string& name, One& one) {
  const std::int64_t before = one.place;
  while (!one.sent.empty() && one.publisher->handled_by(one.sent.front().reference,
                                                        GroupName{kMembers}) == Outcome::ok) {
    one.place = one.sent.front().row;
    one.sent.pop_front();
  }
  if (one.place == before) return false;
  store_.acknowledge(name, one.place);
  SLUICE_KILL_POINT("consumers.place_told");
  return true;
}

// Its member has gone, with messages that nobody else has: a new stream begins with these.
void Consumers::begin_again(const std::string& name, One& one) {
  one.publisher.reset();
  one.sent.clear();
  one.ready.clear();
  one.cursor = one.place;
  SLUICE_KILL_POINT("consumers.stream_gone");
  (void)advertise(name, one);
  SLUICE_KILL_POINT("consumers.stream_made");
}

bool Consumers::fill(One& one) {
  const std::int64_t last = store_.counts().last_row;
  if (!one.ready.empty() || one.cursor >= last) return false;
  Query query;
  query.filter = one.filter;
  query.durable = true;
  query.after_row = one.cursor;
  query.limit = kDepth;
  auto page = archive_.read(query);
  if (!page) {
    if (one.trouble != page.error().message) {
      one.trouble = page.error().message;
      daemon::log_warning("durable consumers: " + one.trouble);
    }
    return false;
  }
  // What came in between is not looked at again where it does not match.
  one.cursor = page->more ? page->records.back().row
                          : std::max(last, page->records.empty() ? 0 : page->records.back().row);
  for (Record& record : page->records) one.ready.push_back(std::move(record));
  return !one.ready.empty();
}

bool Consumers::publish(const std::string& name, One& one) {
  bool any = false;
  while (!one.ready.empty() && one.sent.size() < kDepth) {
    const Record& record = one.ready.front();
    const std::string extensions =
        with_extension(record.extensions, ExtensionId::topic, record.topic);
    const std::string header =
        header_of(record, extensions, static_cast<MessageKind>(record.kind), 0);
    const std::uint64_t bytes = header.size() + record.payload.size();
    Loan loan = one.publisher->loan(bytes);
    if (loan.outcome() == Outcome::too_large) {
      const auto grown = one.publisher->add_pool({std::bit_ceil(bytes), kLargeSlots});
      if (!grown) {
        // It stays in the file, where `sluice audit` shows it.
        daemon::log_error("durable consumer '" + name + "': message " + std::to_string(record.row) +
                          " is left out: " + grown.error().message);
        one.ready.pop_front();
        continue;
      }
      loan = one.publisher->loan(bytes);
    }
    if (!loan) break;
    std::memcpy(loan.data(), header.data(), header.size());
    std::memcpy(loan.data() + header.size(), record.payload.data(), record.payload.size());
    loan.headers.correlation = to_id(record.correlation);
    loan.headers.type_hash = record.type_hash;
    Sent sent{record.row, {}};
    if (one.publisher->publish(std::move(loan), sent.reference) != Outcome::ok) break;
    SLUICE_KILL_POINT("consumers.published");
    one.sent.push_back(sent);
    one.ready.pop_front();
    any = true;
  }
  return any;
}

}  // namespace sluice::recorder
