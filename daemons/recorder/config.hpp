// What the recorder is told: a TOML file, docs/recorder.md has every key, and options.
#pragma once

#include "daemons/common/log.hpp"
#include "daemons/recorder/recording.hpp"
#include "daemons/recorder/store.hpp"
#include "sluice/result.hpp"

#include <string>
#include <string_view>

namespace sluice::recorder {

struct Config {
  std::string socket;  ///< Of the broker; empty: the default.
  std::string node = "recorder";
  daemon::LogOptions log;
  RecordingOptions recording;
  StoreOptions store;  ///< `file.path` empty: default_path().
};

/// /var/lib/sluice/recorder.db for root and services (STATE_DIRECTORY), else below
/// $XDG_STATE_HOME or ~/.local/state.
std::string default_path();

/// Errors name the place: "source:line:column: what is wrong; what to do about it".
Result<Config> parse_config(std::string_view text, std::string source_name);
Result<Config> load_config(const std::string& path);
/// What one key alone cannot show; also of options.
Result<void> check_config(const Config& config);

}  // namespace sluice::recorder
