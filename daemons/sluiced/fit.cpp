#include "daemons/sluiced/fit.hpp"

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
  constexpr std::size_t kMaxNameBytes = 255;
  if (want.group.size() > kMaxNameBytes || want.type_name.size() > kMaxNameBytes) {
    return invalid("the name of a group or type has more than 255 bytes");
  }
  return {};
}

}  // namespace sluice::broker
