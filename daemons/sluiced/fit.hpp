// Whether what a publisher offers is what a subscription wants.
#pragma once

#include "transport/wire.hpp"

#include <optional>
#include <string>

namespace sluice::broker {

const char* to_string(protocol::Mode mode) noexcept;

/// Why the two do not fit, in one sentence for both ends; nothing when they do.
std::optional<std::string> misfit(const protocol::OfferT& offer, const protocol::WantT& want);

/// What no subscription may ask for, whoever publishes.
Result<void> check_want(const protocol::WantT& want);

}  // namespace sluice::broker
