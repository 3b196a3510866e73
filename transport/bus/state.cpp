// Asking for state, and watching it.
#include "shm/clock.hpp"
#include "sluice/topic.hpp"
#include "transport/bus/message_publisher_impl.hpp"
#include "transport/bus/state_protocol.hpp"

#include <map>
#include <utility>

namespace sluice {
namespace {

constexpr std::uint64_t kMaxValueBytes = 64 * 1'024;
constexpr std::size_t kRemembered = 4'096;  // keys whose revisions a watch knows

}  // namespace

// --- State
// -----------------------------------------------------------------------------------------

struct State::Impl {
  StateValue ask(bus::StateOperation operation, std::string_view key,
                 std::span<const std::byte> value, std::uint64_t revision, CallOptions options);
  std::unique_ptr<Requester> requester;
};

StateValue State::Impl::ask(bus::StateOperation operation, std::string_view key,
                            std::span<const std::byte> value, std::uint64_t revision,
                            CallOptions options) {
  if (key.size() > bus::kMaxKeyBytes && operation != bus::StateOperation::keys) {
    return {{StatusCode::invalid_argument, "a key has at most 256 bytes"}};
  }
  const bus::StateRequest head{operation, static_cast<std::uint32_t>(key.size()), revision};
  MessageLoan request = requester->loan(sizeof head + key.size() + value.size(), options);
  if (request) {
    std::byte* at = request.bytes().data();
    std::memcpy(at, &head, sizeof head);
    std::memcpy(at + sizeof head, key.data(), key.size());
    if (!value.empty()) std::memcpy(at + sizeof head + key.size(), value.data(), value.size());
  }
  const Reply reply = requester->start(std::move(request), options).get();
  StateValue result;
  result.status = reply.status;
  const std::span<const std::byte> answer = reply.payload();
  bus::StateAnswer told;
  if (answer.size() >= sizeof told) {
    std::memcpy(&told, answer.data(), sizeof told);
    result.revision = told.revision;
    if (reply) result.value.assign(answer.begin() + sizeof told, answer.end());
  } else if (reply) {
    result.status = {StatusCode::data_loss, "the keeper's answer is not understood"};
  }
  return result;
}

Result<State> State::create(Node& node, std::string_view bucket) {
  if (auto valid = bus::check_bucket(bucket); !valid) return std::move(valid).error();
  RequesterOptions options;
  options.request_bytes = sizeof(bus::StateRequest) + bus::kMaxKeyBytes + kMaxValueBytes;
  options.max_calls = 16;
  auto requester = Requester::create(node, bus::state_service(bucket), options);
  if (!requester) return std::move(requester).error();
  auto impl = std::make_unique<Impl>();
  impl->requester = std::move(*requester);
  return State{std::move(impl)};
}

State::State(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
State::State(State&&) noexcept = default;
State& State::operator=(State&&) noexcept = default;
State::~State() = default;

StateValue State::get(std::string_view key, const CallOptions& options) {
  CallOptions with = options;
  with.idempotent = true;
  return impl_->ask(bus::StateOperation::get, key, {}, 0, with);
}

StateValue State::set(std::string_view key, std::span<const std::byte> value,
                      const CallOptions& options) {
  return impl_->ask(bus::StateOperation::set, key, value, 0, options);
}

StateValue State::compare_and_set(std::string_view key, std::span<const std::byte> value,
                                  std::uint64_t revision, const CallOptions& options) {
  return impl_->ask(bus::StateOperation::compare_and_set, key, value, revision, options);
}

StateValue State::erase(std::string_view key, std::uint64_t revision, const CallOptions& options) {
  return impl_->ask(bus::StateOperation::erase, key, {}, revision, options);
}

Result<std::vector<std::string>> State::keys(std::string_view filter, const CallOptions& options) {
  std::vector<std::string> all;
  for (;;) {
    const std::string behind = all.empty() ? std::string{} : all.back();
    const StateValue page =
        impl_->ask(bus::StateOperation::keys, filter, bus::bytes_of_text(behind), 0, options);
    if (!page.status.ok()) {
      return Error{Errc::refused, 0,
                   std::string{to_string(page.status.code)} + ": " + page.status.message};
    }
    const std::size_t before = all.size();
    std::string_view rest = bus::text_of_bytes(page.value);
    for (std::size_t end = rest.find('\0'); end != std::string_view::npos; end = rest.find('\0')) {
      all.emplace_back(rest.substr(0, end));
      rest.remove_prefix(end + 1);
    }
    if (page.revision == 0 || all.size() == before) return all;
  }
}

// --- StateWatch
// ------------------------------------------------------------------------------------

struct StateWatch::Impl {
  explicit Impl(MessageSubscriber from) : in(std::move(from)) {}
  std::size_t take(const std::function<void(const StateChange&)>& changed);
  struct Known {
    std::uint64_t keeper = 0;  // node id
    std::uint64_t revision = 0;
    std::uint64_t publish_ns = 0;
    [[nodiscard]] bool is_newer_than(const Known& other) const noexcept;
  };
  bool is_newer(std::string_view key, const Known& change);

  MessageSubscriber in;
  Outcome last = Outcome::empty;  // of the take that had nothing
  std::string prefix;
  std::uint64_t since_ns = 0;
  std::map<std::string, Known, std::less<>> seen;
};

// A keeper that was started anew after the clock was set back counts from below what there was;
// what it says came later all the same.
bool StateWatch::Impl::Known::is_newer_than(const Known& other) const noexcept {
  return keeper == other.keeper ? revision > other.revision : publish_ns > other.publish_ns;
}

bool StateWatch::Impl::is_newer(std::string_view key, const Known& change) {
  const auto at = seen.find(key);
  if (at == seen.end()) {
    if (seen.size() >= kRemembered) seen.erase(seen.begin());
    seen.emplace(std::string{key}, change);
    return true;
  }
  if (!change.is_newer_than(at->second)) return false;
  at->second = change;
  return true;
}

std::size_t StateWatch::Impl::take(const std::function<void(const StateChange&)>& changed) {
  std::size_t count = 0;
  for (;;) {
    Message message = in.take();
    if (!message) {
      last = message.outcome();
      return count;
    }
    StateChange change;
    const auto revision = message.extension(ExtensionId::key);
    const std::string_view topic = message.topic();
    if (revision.size() != sizeof change.revision || !topic.starts_with(prefix)) {
      in.acknowledge(std::move(message));
      continue;
    }
    std::memcpy(&change.revision, revision.data(), sizeof change.revision);
    change.key = topic.substr(prefix.size());
    change.value = message.payload();
    change.deleted = change.value.empty();
    change.initial = message.info().publish_ns < since_ns;
    if (is_newer(change.key,
                 {message.envelope().source, change.revision, message.info().publish_ns})) {
      changed(change);
      ++count;
    }
    in.acknowledge(std::move(message));
  }
}

Result<StateWatch> StateWatch::create(Node& node, std::string_view bucket, std::string_view filter,
                                      WaitSet* set) {
  if (auto valid = bus::check_bucket(bucket); !valid) return std::move(valid).error();
  MessageSubscriptionOptions options;
  options.subscription.mode = DeliveryMode::latest;
  options.subscription.max_held = 1;
  options.retained = true;
  const std::uint64_t now = shm::now_ns();
  auto in = MessageSubscriber::create(node, {bus::state_topic(bucket, filter)}, options, set);
  if (!in) return std::move(in).error();
  auto impl = std::make_unique<Impl>(std::move(*in));
  impl->prefix = bus::state_topic(bucket, {});
  impl->since_ns = now;
  return StateWatch{std::move(impl)};
}

StateWatch::StateWatch(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
StateWatch::StateWatch(StateWatch&&) noexcept = default;
StateWatch& StateWatch::operator=(StateWatch&&) noexcept = default;
StateWatch::~StateWatch() = default;

std::size_t StateWatch::step(Deadline deadline,
                             const std::function<void(const StateChange&)>& changed) {
  Subscriber& stream = impl_->in.stream();
  stream.pause(false);
  for (;;) {
    if (const std::size_t count = impl_->take(changed); count != 0) return count;
    // Without the right there is nothing to wait for, until the policy has changed again.
    stream.pause(impl_->last == Outcome::not_allowed);
    if (impl_->in.wait(deadline) != Outcome::ok) return 0;
  }
}

}  // namespace sluice
