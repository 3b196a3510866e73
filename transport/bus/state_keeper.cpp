// The keeper of a bucket: one process decides, so that comparing and setting is one step, and
// everybody can see.
//
// Every key is a stream of its own with one retained value. A deletion publishes an empty value and
// ends the stream; a key that is set again gets a new one. Both may still be on their way to a
// watcher then, in either order, so each value carries its revision, and watchers go by that.
#include "shm/clock.hpp"
#include "shm/kill_point.hpp"
#include "sluice/topic.hpp"
#include "transport/bus/message_publisher_impl.hpp"
#include "transport/bus/state_protocol.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace sluice {
namespace bus {

std::string state_service(std::string_view bucket) { return std::string{"state/"}.append(bucket); }

Result<void> check_bucket(std::string_view bucket) {
  if (bucket.empty() || bucket.find('/') != std::string_view::npos) {
    return Error{Errc::invalid_argument, 0,
                 "a bucket has a name of one level: not empty, without '/'"};
  }
  return check_topic(bucket);
}

std::string state_topic(std::string_view bucket, std::string_view key) {
  return state_service(bucket).append("/").append(key);
}

std::optional<ReadStateRequest> read_state_request(std::span<const std::byte> payload) noexcept {
  ReadStateRequest read;
  if (payload.size() < sizeof read.head) return std::nullopt;
  std::memcpy(&read.head, payload.data(), sizeof read.head);
  payload = payload.subspan(sizeof read.head);
  if (read.head.operation < StateOperation::get || read.head.operation > StateOperation::keys ||
      read.head.key_bytes > payload.size()) {
    return std::nullopt;
  }
  read.key = text_of_bytes(payload.first(read.head.key_bytes));
  read.value = payload.subspan(read.head.key_bytes);
  return read;
}

}  // namespace bus

namespace {

constexpr std::uint32_t kKeyDepth = 4;
constexpr std::uint32_t kKeyReaders = 64;
constexpr unsigned kChangesPerMillisecondBits = 10;

// A keeper that is started anew goes on above what the one before said, if the clock does.
std::uint64_t first_revision() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  return static_cast<std::uint64_t>(ms) << kChangesPerMillisecondBits;
}

// Of an answer: a value, or at least some keys.
std::uint64_t room_of(const StateKeeperOptions& options) {
  constexpr std::uint64_t kKeysRoom = 4'096;
  static_assert(kKeysRoom > bus::kMaxKeyBytes, "an answer has room for any key");
  return sizeof(bus::StateAnswer) + std::max(options.max_value_bytes, kKeysRoom);
}

MessagePublisherOptions key_stream(std::uint64_t value_bytes) {
  MessagePublisherOptions options;
  options.stream.lanes = {{kKeyDepth, 1}};
  options.stream.pools = {{value_bytes + 32}};  // and the revision
  options.stream.max_held = kKeyReaders;
  options.stream.max_readers = kKeyReaders;
  options.stream.on_full = OnFull::evict;  // a watcher that hangs holds up nobody
  options.retained = true;
  return options;
}

}  // namespace

struct StateKeeper::Impl {
  struct Entry {
    MessagePublisher out;
    std::uint64_t revision = 0;
    std::vector<std::byte> value;
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  Impl(Node& with, std::string name, StateKeeperOptions opts)
      : node(with), bucket(std::move(name)), options(std::move(opts)) {}

  void handle(Request& request);
  void get(Request& request, std::string_view key);
  void change(Request& request, const bus::ReadStateRequest& asked);
  void list(Request& request, std::string_view filter, std::string_view behind);
  Status check(const bus::ReadStateRequest& asked, Entries::iterator at) const;
  Result<Entries::iterator> open(std::string_view key);
  static MessageLoan write(Entry& entry, std::span<const std::byte> value, std::uint64_t revision);
  Outcome publish(Entry& entry, std::span<const std::byte> value, std::uint64_t revision);
  Status store(std::string_view key, std::span<const std::byte> value, std::uint64_t at_revision,
               bool deleted) const;
  static void answer(Request& request, std::uint64_t revision,
                     std::span<const std::byte> value = {});

  Node& node;
  std::string bucket;
  StateKeeperOptions options;
  Entries entries;
  std::uint64_t revision = first_revision();
  std::unique_ptr<Responder> responder;
};

void StateKeeper::Impl::answer(Request& request, std::uint64_t revision,
                               std::span<const std::byte> value) {
  const bus::StateAnswer head{revision};
  MessageLoan reply = request.loan(sizeof head + value.size());
  if (reply) {
    std::memcpy(reply.bytes().data(), &head, sizeof head);
    if (!value.empty()) std::memcpy(reply.bytes().data() + sizeof head, value.data(), value.size());
  }
  (void)request.reply(std::move(reply));
}

void StateKeeper::Impl::get(Request& request, std::string_view key) {
  const auto at = entries.find(key);
  if (at == entries.end()) {
    (void)request.reply(Status{StatusCode::not_found, "there is no such key"});
  } else {
    answer(request, at->second.revision, at->second.value);
  }
}

void StateKeeper::Impl::list(Request& request, std::string_view filter, std::string_view behind) {
  if (auto valid = check_filter(filter); !valid) {
    (void)request.reply(Status{StatusCode::invalid_argument, valid.error().message});
    return;
  }
  const auto room = static_cast<std::size_t>(room_of(options) - sizeof(bus::StateAnswer));
  std::string found;
  std::uint64_t more = 0;
  for (auto at = behind.empty() ? entries.begin() : entries.upper_bound(behind);
       at != entries.end(); ++at) {
    if (!filter_matches(filter, at->first)) continue;
    if (found.size() + at->first.size() + 1 > room) {
      more = 1;
      break;
    }
    found += at->first;
    found += '\0';
  }
  answer(request, more, bus::bytes_of_text(found));
}

Status StateKeeper::Impl::check(const bus::ReadStateRequest& asked, Entries::iterator at) const {
  using Op = bus::StateOperation;
  const bool deletes = asked.head.operation == Op::erase;
  if (asked.key.size() > bus::kMaxKeyBytes) {
    return {StatusCode::invalid_argument, "a key has at most 256 bytes"};
  }
  if (auto valid = check_topic(asked.key); !valid) {
    return {StatusCode::invalid_argument, "the key: " + valid.error().message};
  }
  if (!deletes && asked.value.empty()) {
    return {StatusCode::invalid_argument, "an empty value means that there is none; erase the key"};
  }
  if (asked.value.size() > options.max_value_bytes) {
    return {StatusCode::invalid_argument, "a value of this bucket has at most " +
                                              std::to_string(options.max_value_bytes) + " bytes"};
  }
  if (at == entries.end()) {
    if (deletes) return {StatusCode::not_found, "there is no such key"};
    if (entries.size() >= options.max_keys) {
      return {StatusCode::resource_exhausted,
              "the bucket has " + std::to_string(options.max_keys) + " keys, as many as it may"};
    }
  }
  const std::uint64_t is_at = at == entries.end() ? 0 : at->second.revision;
  const bool compares =
      asked.head.operation == Op::compare_and_set || (deletes && asked.head.revision != 0);
  if (compares && asked.head.revision != is_at) {
    return {StatusCode::aborted, "the key is at revision " + std::to_string(is_at)};
  }
  return {};
}

Result<StateKeeper::Impl::Entries::iterator> StateKeeper::Impl::open(std::string_view key) {
  auto out = MessagePublisher::create(node, bus::state_topic(bucket, key),
                                      key_stream(options.max_value_bytes));
  if (!out) return std::move(out).error();
  return entries.emplace(std::string{key}, Entry{std::move(*out), 0, {}}).first;
}

MessageLoan StateKeeper::Impl::write(Entry& entry, std::span<const std::byte> value,
                                     std::uint64_t at_revision) {
  bus::Extensions extensions;
  extensions.add(ExtensionId::key, std::as_bytes(std::span{&at_revision, 1}));
  MessageLoan loan = entry.out.impl_->loan(value.size(), {}, extensions);
  if (loan && !value.empty()) std::memcpy(loan.bytes().data(), value.data(), value.size());
  return loan;
}

Outcome StateKeeper::Impl::publish(Entry& entry, std::span<const std::byte> value,
                                   std::uint64_t at_revision) {
  MessageLoan loan = write(entry, value, at_revision);
  return loan ? entry.out.publish(std::move(loan)) : loan.outcome();
}

Status StateKeeper::Impl::store(std::string_view key, std::span<const std::byte> value,
                                std::uint64_t at_revision, bool deleted) const {
  if (!options.store) return {};
  const auto stored = options.store(key, value, at_revision, deleted);
  if (stored) return {};
  return {StatusCode::internal, "the value could not be stored: " + stored.error().message};
}

void StateKeeper::Impl::change(Request& request, const bus::ReadStateRequest& asked) {
  const bool deletes = asked.head.operation == bus::StateOperation::erase;
  auto at = entries.find(asked.key);
  const std::uint64_t is_at = at == entries.end() ? 0 : at->second.revision;
  if (const Status status = check(asked, at); !status.ok()) {
    // Who compared wants to know what it is at.
    (void)request.reply(status, std::as_bytes(std::span{&is_at, 1}));
    return;
  }
  const bool made = at == entries.end();
  if (made) {
    auto opened = open(asked.key);
    if (!opened) {
      (void)request.reply(Status{StatusCode::resource_exhausted, opened.error().message});
      return;
    }
    at = *opened;
  }
  const auto refuse = [&](const Status& why) {
    if (made) entries.erase(at);
    (void)request.reply(why);
  };
  const auto unpublished = [](Outcome outcome) {
    return Status{StatusCode::resource_exhausted,
                  std::string{"the value could not be published: "} + to_string(outcome)};
  };
  // The store comes last but one: what can fail is behind us then, and nothing is stored that
  // nobody gets to see.
  const auto value = deletes ? std::span<const std::byte>{} : asked.value;
  std::vector<std::byte> kept(value.begin(), value.end());
  MessageLoan loan = write(at->second, value, revision + 1);
  if (!loan) return refuse(unpublished(loan.outcome()));
  if (const Status stored = store(at->first, kept, revision + 1, deletes); !stored.ok()) {
    return refuse(stored);
  }
  SLUICE_KILL_POINT("state.stored");
  if (const Outcome outcome = at->second.out.publish(std::move(loan)); outcome != Outcome::ok) {
    // The broker has taken the right away meanwhile: back to what was.
    (void)store(at->first, at->second.value, at->second.revision, made);
    return refuse(unpublished(outcome));
  }
  SLUICE_KILL_POINT("state.published");
  ++revision;
  if (deletes) {
    entries.erase(at);
  } else {
    at->second.revision = revision;
    at->second.value = std::move(kept);
  }
  answer(request, revision);
}

void StateKeeper::Impl::handle(Request& request) {
  const auto asked = bus::read_state_request(request.payload());
  if (!asked) {
    (void)request.reply(Status{StatusCode::invalid_argument, "this is no request about state"});
    return;
  }
  switch (asked->head.operation) {
    case bus::StateOperation::get:
      return get(request, asked->key);
    case bus::StateOperation::keys:
      return list(request, asked->key, bus::text_of_bytes(asked->value));
    default:
      return change(request, *asked);
  }
}

Result<std::unique_ptr<StateKeeper>> StateKeeper::create(Node& node, std::string_view bucket,
                                                         StateKeeperOptions options, WaitSet* set) {
  if (options.max_keys == 0 || options.max_value_bytes == 0) {
    return Error{Errc::invalid_argument, 0,
                 "a bucket has room for at least one key (max_keys) of one byte (max_value_bytes)"};
  }
  if (auto valid = bus::check_bucket(bucket); !valid) return std::move(valid).error();
  // Two keepers would each get a part of the changes.
  auto others = Requester::create(node, bus::state_service(bucket));
  if (!others) return std::move(others).error();
  if ((*others)->is_served()) {
    return Error{
        Errc::refused, 0,
        std::string{"the bucket '"}.append(bucket).append("' is kept by another process already")};
  }
  others->reset();  // it would be attached to us
  auto impl = std::make_unique<Impl>(node, std::string{bucket}, std::move(options));
  impl->revision = std::max(impl->revision, impl->options.first_revision);
  ResponderOptions with;
  with.reply_bytes = room_of(impl->options);
  auto responder = Responder::create(
      node, bus::state_service(bucket),
      [state = impl.get()](Request& request) { state->handle(request); }, with, set);
  if (!responder) return std::move(responder).error();
  impl->responder = std::move(*responder);
  return std::unique_ptr<StateKeeper>{new StateKeeper{std::move(impl)}};
}

StateKeeper::StateKeeper(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
StateKeeper::~StateKeeper() = default;

Result<void> StateKeeper::restore(std::string_view key, std::span<const std::byte> value,
                                  std::uint64_t revision) {
  const std::string named = std::string{"'"}.append(key).append("'");
  const auto there = impl_->entries.find(key);
  if (there != impl_->entries.end()) {
    return Error{Errc::invalid_argument, 0, named + " is there already; restore each key once"};
  }
  const bus::ReadStateRequest as{{bus::StateOperation::set, 0, 0}, key, value};
  if (const Status status = impl_->check(as, there); !status.ok()) {
    return Error{Errc::invalid_argument, 0, named + ": " + status.message};
  }
  auto at = impl_->open(key);
  if (!at) return std::move(at).error();
  const Outcome outcome = impl_->publish((*at)->second, value, revision);
  if (outcome != Outcome::ok) {
    impl_->entries.erase(*at);
    return Error{Errc::exhausted, 0, named + " could not be published: " + to_string(outcome)};
  }
  (*at)->second.revision = revision;
  (*at)->second.value.assign(value.begin(), value.end());
  impl_->revision = std::max(impl_->revision, revision);
  return {};
}

std::size_t StateKeeper::step(Deadline deadline) { return impl_->responder->step(deadline); }
Result<void> StateKeeper::run() { return impl_->responder->run(); }
void StateKeeper::stop() noexcept { impl_->responder->stop(); }
std::size_t StateKeeper::size() const noexcept { return impl_->entries.size(); }
std::uint64_t StateKeeper::revision() const noexcept { return impl_->revision; }

}  // namespace sluice
