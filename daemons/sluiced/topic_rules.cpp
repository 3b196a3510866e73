// Topics with a meaning (docs/configuration.md has them for people).
//
//   $request/S            publish: request on S        subscribe: serve on S
//   $reply/S/NODE/N       publish: serve on S          subscribe: request on S, NODE being oneself
//   $sys/#                publish: the broker, but     subscribe: everybody
//     $sys/errors/NAME      the node of that name
//     $sys/control/#        the broker's user, root, whom an [[allow]] names it for
//   $dlq/T                publish: who may subscribe to T
//   $breaker/S/NAME, health/NAME/bus   publish: the node of that name
//
// All other topics, and what has no entry here, go by the rules as they stand. A [[deny]] wins over
// all of it: over what a node may do by itself, and, when it names such a topic, over the right to
// request or serve.
//
// A service's name does not begin with '$': "$request/#" would match it, and the filter "#" of a
// rule for services would not, so that inclusion of the one in the other would say nothing.
#include "daemons/sluiced/policy.hpp"
#include "sluice/topic.hpp"
#include "transport/quote.hpp"

#include <algorithm>
#include <charconv>

namespace sluice::broker {
namespace {

using transport::quoted;

constexpr std::size_t kIdDigits = 16;
constexpr std::size_t kMaxNumberDigits = 20;

// What follows `first` and a '/'; nothing when the topic begins otherwise.
std::optional<std::string_view> rest_of(std::string_view topic, std::string_view first) {
  if (topic.substr(0, first.size()) != first) return std::nullopt;
  topic.remove_prefix(first.size());
  if (topic.empty() || topic.front() != '/') return std::nullopt;
  return topic.substr(1);
}

bool begins_with_level(std::string_view topic, std::string_view first) {
  return topic == first || rest_of(topic, first).has_value();
}

// Cuts off the last level; nothing when there is only one.
std::optional<std::string_view> cut_level(std::string_view& text) {
  const std::size_t slash = text.rfind('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view level = text.substr(slash + 1);
  text = text.substr(0, slash);
  return level;
}

bool is_service(std::string_view name) { return !name.empty() && name.front() != '$'; }

struct Reply {
  std::string_view service;
  std::uint64_t node = 0;
};

std::optional<Reply> reply_of(std::string_view topic) {
  const auto rest = rest_of(topic, "$reply");
  if (!rest) return std::nullopt;
  Reply reply{*rest};
  const auto number = cut_level(reply.service);
  const auto node = number ? cut_level(reply.service) : std::nullopt;
  if (!node || node->size() != kIdDigits || number->empty() || number->size() > kMaxNumberDigits) {
    return std::nullopt;
  }
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto is_hex = [&](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); };
  if (!std::all_of(number->begin(), number->end(), is_digit) ||
      !std::all_of(node->begin(), node->end(), is_hex) || !is_service(reply.service)) {
    return std::nullopt;
  }
  std::from_chars(node->data(), node->data() + node->size(), reply.node, 16);
  return reply;
}

Verdict no(std::string_view topic, const char* sentence) {
  return {false, quoted(topic) + ": " + sentence};
}

constexpr const char* kRequestForm =
    "requests go to $request/<service>; a service's name does not begin with '$'";
constexpr const char* kReplyForm =
    "replies go to $reply/<service>/<id of the node that asks, 16 hexadecimal digits>/<number>";

}  // namespace

Verdict Policy::may_anyway(const Identity& who, Action action, std::string_view filter) const {
  if (auto connected = may_connect(who); !connected) return connected;
  if (auto why = denied(who, action, filter, true)) return {false, std::move(*why)};
  return {true, ""};
}

Verdict Policy::may_for_service(const Identity& who, Action action, std::string_view service,
                                Action literal, std::string_view filter) const {
  if (auto why = denied(who, literal, filter, false)) return {false, std::move(*why)};
  return may(who, action, service);
}

Verdict Policy::may_publish_system(const Identity& who, std::string_view topic) const {
  if (const auto name = rest_of(topic, "$sys/errors"); name && *name == who.node_name) {
    return may_anyway(who, Action::publish, topic);
  }
  if (begins_with_level(topic, "$sys/control")) {
    if (who.uid == own_uid_ || who.uid == 0 || is_named(who, Action::publish, topic)) {
      return may_anyway(who, Action::publish, topic);
    }
    return no(topic,
              "only the broker's user, root, and whom an [[allow]] with such a filter gives it may "
              "publish system messages");
  }
  return no(topic,
            "topics of $sys are the broker's; a node may publish $sys/errors/<its name>, and "
            "$sys/control/… where it may administer");
}

Verdict Policy::may_publish(const Identity& who, std::string_view topic) const {
  if (auto checked = check_topic(topic); !checked) return {false, checked.error().message};
  if (begins_with_level(topic, "$request")) {
    const auto service = rest_of(topic, "$request");
    if (!service || !is_service(*service)) return no(topic, kRequestForm);
    return may_for_service(who, Action::request, *service, Action::publish, topic);
  }
  if (begins_with_level(topic, "$reply")) {
    const auto reply = reply_of(topic);
    if (!reply) return no(topic, kReplyForm);
    return may_for_service(who, Action::serve, reply->service, Action::publish, topic);
  }
  if (begins_with_level(topic, "$sys")) return may_publish_system(who, topic);
  if (begins_with_level(topic, "$dlq")) {
    const auto of = rest_of(topic, "$dlq");
    if (!of || of->empty()) return no(topic, "dead letters go to $dlq/<the topic they were for>");
    if (auto why = denied(who, Action::publish, topic, true)) return {false, std::move(*why)};
    return may_subscribe(who, *of);
  }
  std::string_view service = topic;
  const bool own_breaker = begins_with_level(topic, "$breaker") &&
                           cut_level(service) == who.node_name &&
                           rest_of(service, "$breaker").value_or("") != "";
  const bool own_health = topic == "health/" + who.node_name + "/bus";
  if (own_breaker || own_health) return may_anyway(who, Action::publish, topic);
  return may(who, Action::publish, topic);
}

Verdict Policy::may_subscribe(const Identity& who, std::string_view filter) const {
  if (auto checked = check_filter(filter); !checked) return {false, checked.error().message};
  if (begins_with_level(filter, "$request")) {
    const auto service = rest_of(filter, "$request");
    if (!service || !is_service(*service)) return no(filter, kRequestForm);
    return may_for_service(who, Action::serve, *service, Action::subscribe, filter);
  }
  if (begins_with_level(filter, "$reply")) {
    const auto reply = check_topic(filter) ? reply_of(filter) : std::nullopt;
    if (!reply) return no(filter, kReplyForm);
    if (reply->node != who.node_id) {
      return no(filter, "a node reads only the replies to itself; its own id must stand there");
    }
    return may_for_service(who, Action::request, reply->service, Action::subscribe, filter);
  }
  if (begins_with_level(filter, "$sys")) return may_anyway(who, Action::subscribe, filter);
  return may(who, Action::subscribe, filter);
}

}  // namespace sluice::broker
