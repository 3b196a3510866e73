#include "daemons/sluiced/fit.hpp"

#include "sluice/topic.hpp"

#include <algorithm>
#include <array>

namespace sluice::broker {
namespace {

using protocol::Mode;

bool offers(const protocol::OfferT& offer, Mode mode) {
  switch (mode) {
    case Mode::latest:
      return offer.latest;
    case Mode::next:
      return offer.next;
    case Mode::reliable:
      return offer.reliable;
    case Mode::group:
      return offer.group;
    case Mode::none:
      break;
  }
  return false;
}

std::string offered_modes(const protocol::OfferT& offer) {
  std::string list;
  for (const Mode mode : {Mode::latest, Mode::next, Mode::reliable, Mode::group}) {
    if (!offers(offer, mode)) continue;
    if (!list.empty()) list += ", ";
    list += to_string(mode);
  }
  return list.empty() ? "none" : list;
}

std::string type_of(std::uint64_t hash, const std::string& name) {
  if (hash == 0) return "no type";
  return "type '" + name + "' (" + std::to_string(hash) + ")";
}

}  // namespace

const char* to_string(Mode mode) noexcept {
  constexpr std::array kNames{"none", "latest", "next", "reliable", "group"};
  const auto i = static_cast<std::size_t>(mode);
  return i < kNames.size() ? kNames[i] : "unknown";
}

std::optional<std::string> misfit(const protocol::OfferT& offer, const protocol::WantT& want) {
  if (!offers(offer, want.mode)) {
    return std::string("the subscription wants mode ") + to_string(want.mode) +
           ", the publisher offers: " + offered_modes(offer);
  }
  if (want.type_hash != 0 && want.type_hash != offer.type_hash) {
    return "the subscription wants " + type_of(want.type_hash, want.type_name) +
           ", the publisher has " + type_of(offer.type_hash, offer.type_name);
  }
  return std::nullopt;
}

bool any_matches(const std::vector<std::string>& filters, std::string_view topic) noexcept {
  return std::any_of(filters.begin(), filters.end(),
                     [&](const std::string& filter) { return filter_matches(filter, topic); });
}

bool any_overlaps(const std::vector<std::string>& filters, std::string_view filter) noexcept {
  return std::any_of(filters.begin(), filters.end(),
                     [&](const std::string& other) { return filters_overlap(other, filter); });
}

bool is_withheld(const protocol::OfferT& offer, const protocol::WantT& want) noexcept {
  return offer.sensitive && want.recorder;
}

bool may_meet(std::string_view topic, std::string_view subscriber) noexcept {
  constexpr std::string_view kInbox = "inbox/";
  return topic.substr(0, kInbox.size()) != kInbox || topic.substr(kInbox.size()) == subscriber;
}

Result<void> check_filters(const std::vector<std::string>& filters) {
  if (filters.empty() || filters.size() > transport::kMaxFilters) {
    return Error{Errc::invalid_argument, 0, "a subscription has 1 to 64 filters"};
  }
  std::size_t bytes = 0;
  for (const std::string& filter : filters) {
    if (auto valid = check_filter(filter); !valid) return valid;
    bytes += filter.size();
  }
  if (bytes <= transport::kMaxFilterBytes) return {};
  return Error{Errc::invalid_argument, 0,
               "the filters of a subscription have at most 65535 bytes together"};
}

Result<void> check_want(const protocol::WantT& want) {
  const auto invalid = [](std::string sentence) {
    return Error{Errc::invalid_argument, 0, std::move(sentence)};
  };
  if (want.mode < Mode::latest || want.mode > Mode::group) {
    return invalid("a subscription needs the mode latest, next, reliable or group");
  }
  if (want.mode == Mode::group && want.group.empty()) {
    return invalid("a subscription of mode group needs the group's name");
  }
  if (want.durable && want.mode != Mode::group) {
    return invalid("only a subscription of mode group can be durable");
  }
  constexpr std::size_t kMaxNameBytes = 255;
  if (want.group.size() > kMaxNameBytes || want.type_name.size() > kMaxNameBytes) {
    return invalid("the name of a group or type has more than 255 bytes");
  }
  return {};
}

}  // namespace sluice::broker
