#include "transport/bus/service.hpp"

#include "sluice/topic.hpp"

#include <algorithm>
#include <array>

namespace sluice::bus {
namespace {

constexpr std::string_view kReply = "$reply/";

std::string hex16(std::uint64_t id) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(16, '0');
  for (std::size_t i = 16; i-- != 0; id >>= 4) text[i] = kDigits[id & 0xf];
  return text;
}

}  // namespace

Result<void> check_service(std::string_view service) {
  if (service.size() > kMaxServiceBytes) {
    return Error{Errc::invalid_argument, 0,
                 "the name of a service has at most " + std::to_string(kMaxServiceBytes) +
                     " bytes; this one has " + std::to_string(service.size())};
  }
  if (!service.empty() && service.front() == '$') {
    return Error{Errc::invalid_argument, 0,
                 "the name of a service does not begin with '$'; name it like a topic of your own"};
  }
  return check_topic(service);
}

std::string request_topic(std::string_view service) { return "$request/" + std::string{service}; }

std::string reply_topic(std::string_view service, std::uint64_t node_id, std::uint64_t number) {
  return std::string{kReply} + std::string{service} + '/' + hex16(node_id) + '/' +
         std::to_string(number);
}

bool is_reply_topic(std::string_view topic, std::string_view service,
                    std::uint64_t node_id) noexcept {
  const auto skip = [&topic](std::string_view what) {
    if (!topic.starts_with(what)) return false;
    topic.remove_prefix(what.size());
    return true;
  };
  if (!skip(kReply) || !skip(service) || !skip("/") || !skip(hex16(node_id)) || !skip("/")) {
    return false;
  }
  return !topic.empty() && topic.size() <= 20 &&
         std::all_of(topic.begin(), topic.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace sluice::bus
