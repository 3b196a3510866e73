// Users and groups of a system that does not exist, so that tests say the same everywhere.
#pragma once

#include "daemons/sluiced/config.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::test {

inline constexpr std::uint32_t kFirstId = 1000;
/// Users with uids from kFirstId, and groups with the same numbers and names.
inline constexpr std::array<std::string_view, 4> kNames{"camera", "viewer", "video", "lab$"};

inline broker::Accounts made_up_accounts() {
  const auto find = [](const std::string& name) -> std::optional<std::uint32_t> {
    const auto at = std::find(kNames.begin(), kNames.end(), name);
    if (at == kNames.end()) return std::nullopt;
    return kFirstId + static_cast<std::uint32_t>(at - kNames.begin());
  };
  return {find, find};
}

}  // namespace sluice::test
