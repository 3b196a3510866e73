// Whether what a publisher offers is what a subscription wants.
#pragma once

#include "transport/wire.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::broker {

const char* to_string(protocol::Mode mode) noexcept;

/// Why the two do not fit, in one sentence for both ends; nothing when they do.
std::optional<std::string> misfit(const protocol::OfferT& offer, const protocol::WantT& want);

bool any_matches(const std::vector<std::string>& filters, std::string_view topic) noexcept;
bool any_overlaps(const std::vector<std::string>& filters, std::string_view filter) noexcept;

/// Who keeps what it takes never gets what is sensitive. That is a rule, not a misfit: nobody is
/// told.
bool is_withheld(const protocol::OfferT& offer, const protocol::WantT& want) noexcept;

/// `inbox/<name>` is for the node of that name only, whatever filter it matches.
bool may_meet(std::string_view topic, std::string_view subscriber) noexcept;

/// What no subscription may ask for, whoever publishes.
Result<void> check_want(const protocol::WantT& want);
Result<void> check_filters(const std::vector<std::string>& filters);

}  // namespace sluice::broker
