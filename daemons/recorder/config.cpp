#include "daemons/recorder/config.hpp"

#include "daemons/common/toml_reader.hpp"
#include "sluice/topic.hpp"

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <utility>

namespace sluice::recorder {
namespace {

constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kMostMiB = std::int64_t{1} << 24;  // 16 TiB
constexpr double kMostDays = 36'500;

class Reader : public daemon::TomlReader {
 public:
  using TomlReader::TomlReader;

  Result<Config> read(const toml::table& root) {
    read_table(root, "the file",
               {{"socket", [this](const auto& n) { config_.socket = read_string(n, "socket"); }},
                {"node", [this](const auto& n) { config_.node = read_string(n, "node"); }},
                {"log", [this](const auto& n) { config_.log = read_log(n); }},
                {"record", [this](const auto& n) { read_record(n); }},
                {"store", [this](const auto& n) { read_store(n); }}});
    if (auto error = first_error()) return std::move(*error);
    return std::move(config_);
  }

 private:
  void read_filters(const toml::node& node, const std::string& what,
                    std::vector<std::string>& filters) {
    read_strings(node, what, [&](const std::string& text, const toml::node& at) {
      if (const auto checked = check_filter(text); !checked) {
        fail(at, checked.error().message);
      } else {
        filters.push_back(text);
      }
    });
  }

  void read_record(const toml::node& node) {
    RecordingOptions& recording = config_.recording;
    read_table(node, "[record]",
               {{"topics", [&](const auto& n) { read_filters(n, "topics", recording.filters); }},
                {"durable", [&](const auto& n) { read_filters(n, "durable", recording.durable); }},
                {"max_message_bytes", [&](const auto& n) {
                   recording.max_message_bytes = static_cast<std::uint64_t>(
                       read_integer(n, "max_message_bytes", 1'024, 16 * kMiB));
                 }}});
  }

  std::int64_t read_days(const toml::node& node, const std::string& what) {
    constexpr double kDayNs = 86'400e9;
    return std::llround(read_number(node, what, 0, kMostDays) * kDayNs);
  }

  void read_store(const toml::node& node) {
    StoreOptions& store = config_.store;
    FileOptions& file = store.file;
    const auto mib = [this](const toml::node& n, const std::string& what, std::int64_t least) {
      return static_cast<std::uint64_t>(read_integer(n, what, least, kMostMiB) * kMiB);
    };
    read_table(
        node, "[store]",
        {{"path", [&](const auto& n) { file.path = read_string(n, "path"); }},
         {"max_mib", [&](const auto& n) { file.max_bytes = mib(n, "max_mib", 1); }},
         {"max_days", [&](const auto& n) { file.max_age_ns = read_days(n, "max_days"); }},
         {"rotate_mib", [&](const auto& n) { file.rotate_bytes = mib(n, "rotate_mib", 0); }},
         {"keep",
          [&](const auto& n) {
            file.keep = static_cast<std::uint32_t>(read_integer(n, "keep", 1, 10'000));
          }},
         {"consumer_days",
          [&](const auto& n) { file.consumer_keep_ns = read_days(n, "consumer_days"); }},
         {"batch",
          [&](const auto& n) {
            store.batch_count = static_cast<std::uint32_t>(read_integer(n, "batch", 1, 8'192));
          }},
         {"batch_ms", [&](const auto& n) {
            store.batch_time =
                std::chrono::nanoseconds{std::llround(read_number(n, "batch_ms", 0, 1'000) * 1e6)};
          }}});
  }

  Config config_;
};

}  // namespace

std::string default_path() {
  constexpr const char* kName = "/recorder.db";
  if (const char* given = std::getenv("STATE_DIRECTORY")) return std::string{given} + kName;
  if (::geteuid() == 0) return std::string{"/var/lib/sluice"} + kName;
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/') {
    return std::string{state} + "/sluice" + kName;
  }
  const char* home = std::getenv("HOME");
  return std::string{home == nullptr ? "." : home} + "/.local/state/sluice" + kName;
}

Result<Config> parse_config(std::string_view text, std::string source_name) {
  Reader reader{source_name};
  auto config = daemon::read_toml(text, reader, source_name);
  if (!config) return config;
  if (auto checked = check_config(*config); !checked) {
    return Error{Errc::invalid_argument, 0, source_name + ": " + checked.error().message};
  }
  return config;
}

Result<Config> load_config(const std::string& path) {
  auto text = daemon::load_toml(path, "the configuration");
  if (!text) return std::move(text).error();
  return parse_config(*text, path);
}

Result<void> check_config(const Config& config) {
  constexpr std::size_t kMostFilters =
      61;  // of a subscription, without those that are always there
  const auto fail = [](const std::string& sentence) {
    return Error{Errc::invalid_argument, 0, sentence};
  };
  for (const auto* filters : {&config.recording.filters, &config.recording.durable}) {
    if (filters->size() > kMostFilters) {
      return fail("there are more than 61 filters; use wildcards to name fewer");
    }
    for (const std::string& filter : *filters) {
      if (const auto checked = check_filter(filter); !checked) return checked.error();
    }
  }
  const FileOptions& file = config.store.file;
  if (file.rotate_bytes != 0 && file.rotate_bytes > file.max_bytes / 2) {
    return fail("a file would be rotated at " + std::to_string(file.rotate_bytes / kMiB) +
                " MiB, and all files together have room for " +
                std::to_string(file.max_bytes / kMiB) +
                "; let rotation come at half of that at most");
  }
  return {};
}

}  // namespace sluice::recorder
