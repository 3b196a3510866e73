// What the administrator wrote: docs/configuration.md has every key.
#pragma once

#include "daemons/common/log.hpp"
#include "daemons/sluiced/limits.hpp"
#include "daemons/sluiced/policy.hpp"
#include "daemons/sluiced/topic_traits.hpp"
#include "sluice/result.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::broker {

using daemon::kLogLevels;
using daemon::LogOptions;

inline constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 20;

struct Config {
  std::string socket;  ///< Absolute path; empty: where the broker listens by default.
  LogOptions log;
  LimitTable limits;
  Rules rules;
  std::vector<TopicRule> topics;
};

/// Who users and groups are, where they are not written as numbers. By default the system's word.
struct Accounts {
  using Find = std::function<std::optional<std::uint32_t>(const std::string& name)>;
  Find user;   ///< The uid of a name.
  Find group;  ///< The gid of a name.
};
/// getpwnam and getgrnam. May block, as these may.
Accounts system_accounts();

/// Reads TOML. The first error in the text as `invalid_argument`: "source:line:column: what is
/// wrong; what to do about it".
Result<Config> parse_config(std::string_view text, std::string source_name,
                            const Accounts& accounts = system_accounts());

/// Reads a file of at most kMaxConfigBytes. Also `system` when it cannot be read.
Result<Config> load_config(const std::string& path);

}  // namespace sluice::broker
