// Topics and filters, by the rules of MQTT 5 (sections 4.7 and 1.5.4).
//
// A topic names what a message is about: levels separated by '/', as in "camera/front/frames". A
// filter selects topics: '+' stands for exactly one level, '#' at the end for all further ones,
// none included. Levels may be empty: "/a" has two, and so has "a/". Upper and lower case differ,
// nothing is normalised. Topics that begin with '$' belong to the system: a filter that begins with
// a wildcard leaves them out.
//
// All functions are thread-safe: they hold no state.
#pragma once

#include "sluice/export.hpp"
#include "sluice/result.hpp"

#include <cstddef>
#include <string_view>

namespace sluice {

inline constexpr std::size_t kMaxTopicBytes = 65'535;  ///< MQTT's limit, for filters as well.
inline constexpr std::size_t kMaxTopicLevels = 128;    ///< Ours; '#' counts as a level.

/// Whether messages may be published under `topic`: well-formed UTF-8 without U+0000 and
/// surrogates, not empty, no wildcards, within both limits. Otherwise `invalid_argument`, with the
/// place and the remedy.
SLUICE_EXPORT Result<void> check_topic(std::string_view topic);

/// Whether `filter` may be subscribed to: like a topic, but with '+' as a whole level and '#' as
/// the whole last one.
SLUICE_EXPORT Result<void> check_filter(std::string_view filter);

// The three below take what passed the checks above; for other text the answer means nothing, and
// nothing else happens. None allocates; each takes a time linear in what it is given.

/// Whether messages under `topic` belong to `filter`.
SLUICE_EXPORT bool filter_matches(std::string_view filter, std::string_view topic) noexcept;

/// Whether every topic that `narrow` matches is matched by `wide` too.
SLUICE_EXPORT bool filter_includes(std::string_view wide, std::string_view narrow) noexcept;

/// Whether there is a topic that both match.
SLUICE_EXPORT bool filters_overlap(std::string_view a, std::string_view b) noexcept;

}  // namespace sluice
