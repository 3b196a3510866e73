// The recorder publishes what is behind the consumer's place on `$durable/<name>`, and makes a new
// stream of it when it has started again or the consumer has. For a moment two streams can then
// carry the same messages. Each of them is in order and begins at or before the first message that
// was not acknowledged; leaving out what was acknowledged here keeps the order of the rest. What
// was taken and not acknowledged comes again: it may be the only copy that still reaches the
// recorder.
#include "sluice/durable.hpp"

#include "sluice/requester.hpp"

#include <time.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace sluice {
namespace {

constexpr const char* kService = "recorder/consume";
constexpr const char* kMembers = "$durable";

std::uint64_t now_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

// Text in JSON.
std::string quoted(std::string_view text) {
  constexpr const char* kHex = "0123456789abcdef";
  std::string out;
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20) {
      out.append("\\u00");
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  out += '"';
  return out;
}

Result<std::string> ask(Node& node, const std::string& request, std::chrono::nanoseconds timeout) {
  RequesterOptions options;
  options.codec = Codec::json;
  // Room for a filter of any length that is allowed, escaped.
  options.request_bytes = std::max<std::uint64_t>(1'024, request.size());
  options.timeout = timeout;
  auto requester = Requester::create(node, kService, options);
  if (!requester) return std::move(requester).error();
  CallOptions call;
  call.idempotent = true;
  const Deadline patience = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const Reply reply = (*requester)->call(request, call);
    if (reply) return std::string{reply.text()};
    // A recorder that is just starting is waited for.
    if (reply.status.code != StatusCode::unavailable ||
        std::chrono::steady_clock::now() >= patience) {
      return Error{Errc::refused, 0,
                   std::string("no recorder keeps anything for a durable consumer: ")
                       .append(to_string(reply.status.code))
                       .append(reply.status.message.empty() ? "" : ": ")
                       .append(reply.status.message)
                       .append("; is sluice-recorder running, with --durable?")};
    }
    timespec pause{0, 20'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

}  // namespace

struct DurableConsumer::Impl {
  std::string name;
  MessageSubscriber subscriber;
  DuplicateWindow acknowledged;
  Counts counts;
  bool is_new(Message& message) noexcept;
};

DurableConsumer::DurableConsumer(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
DurableConsumer::DurableConsumer(DurableConsumer&&) noexcept = default;
DurableConsumer& DurableConsumer::operator=(DurableConsumer&&) noexcept = default;
DurableConsumer::~DurableConsumer() = default;

Result<DurableConsumer> DurableConsumer::create(Node& node, std::string_view name,
                                                std::string_view filter,
                                                DurableConsumerOptions options, WaitSet* set) {
  std::string request = "{\"name\":";
  request.append(quoted(name)).append(",\"filter\":").append(quoted(filter));
  request.append(options.from_start ? ",\"from\":\"start\"}" : ",\"from\":\"now\"}");
  auto asked = ask(node, request, options.timeout);
  if (!asked) return std::move(asked).error();
  MessageSubscriptionOptions subscription;
  subscription.subscription.mode = DeliveryMode::group;
  subscription.subscription.group = kMembers;
  subscription.subscription.max_held = options.max_held;
  subscription.subscription.credits = options.max_held;
  subscription.give_expired = true;  // what is durable does not expire on its way
  auto subscriber = MessageSubscriber::create(
      node, std::vector<std::string>{"$durable/" + std::string(name)}, subscription, set);
  if (!subscriber) return std::move(subscriber).error();
  return DurableConsumer{std::unique_ptr<Impl>{new Impl{
      std::string(name), std::move(subscriber).value(), DuplicateWindow{options.duplicates}, {}}}};
}

Result<bool> DurableConsumer::forget(Node& node, std::string_view name,
                                     std::chrono::nanoseconds timeout) {
  auto asked = ask(node, "{\"name\":" + quoted(name) + ",\"forget\":true}", timeout);
  if (!asked) return std::move(asked).error();
  return asked->find("true") != std::string::npos;
}

// Whether it is to be given out; acknowledges it where not.
bool DurableConsumer::Impl::is_new(Message& message) noexcept {
  if (!acknowledged.contains(message.envelope().id, now_ns())) {
    ++counts.taken;
    return true;
  }
  ++counts.duplicates;
  subscriber.acknowledge(std::move(message));
  return false;
}

Message DurableConsumer::take() noexcept {
  for (;;) {
    Message message = impl_->subscriber.take();
    if (!message || impl_->is_new(message)) return message;
  }
}

Outcome DurableConsumer::wait(Deadline deadline) noexcept {
  return impl_->subscriber.wait(deadline);
}

Message DurableConsumer::receive(Deadline deadline) noexcept {
  for (;;) {
    Message message = impl_->subscriber.receive(deadline);
    if (!message || impl_->is_new(message)) return message;
  }
}

std::string_view DurableConsumer::topic_of(const Message& message) const noexcept {
  const auto named = message.extension(ExtensionId::topic);
  if (named.empty()) return message.topic();
  return {reinterpret_cast<const char*>(named.data()), named.size()};
}

void DurableConsumer::acknowledge(Message&& message) noexcept {
  if (!message) return;
  ++impl_->counts.acknowledged;
  (void)impl_->acknowledged.insert(message.envelope().id, now_ns());
  impl_->subscriber.acknowledge(std::move(message));
}

void DurableConsumer::reject(Message&& message) noexcept {
  impl_->subscriber.reject(std::move(message));
}

void DurableConsumer::give_up(Message&& message) noexcept {
  if (!message) return;
  ++impl_->counts.acknowledged;
  impl_->subscriber.give_up(std::move(message));
}

const DurableConsumer::Counts& DurableConsumer::counts() const noexcept { return impl_->counts; }
const std::string& DurableConsumer::name() const noexcept { return impl_->name; }

}  // namespace sluice
