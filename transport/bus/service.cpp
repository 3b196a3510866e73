#include "transport/bus/service.hpp"

#include "sluice/topic.hpp"

namespace sluice::bus {
namespace {

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

std::string reply_topic(std::string_view service, std::uint64_t node_id, std::uint64_t stream_id) {
  return "$reply/" + std::string{service} + '/' + hex16(node_id) + '/' + std::to_string(stream_id);
}

}  // namespace sluice::bus
