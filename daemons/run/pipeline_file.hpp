// pipeline.toml: which processes a pipeline is made of. See docs/pipeline.md.
#pragma once

#include "sluice/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::run {

enum class Restart : std::uint8_t { always, on_failure, never };
enum class Kind : std::uint8_t { broker, camera, detector, recognizer, annotator, process };

/// One process to be started.
struct Process {
  Kind kind = Kind::process;
  std::string table{};  ///< The NAME of [camera.NAME].
  /// As it is shown; of Sluice's own processes the name of its node: "detect-hall-2".
  std::string name{};
  /// The program (a name to be looked for, or an absolute path) and its arguments.
  std::vector<std::string> command{};
  std::string working_directory{};  ///< Empty: ours.
  std::vector<std::pair<std::string, std::string>> environment{};
  Restart restart = Restart::always;
  std::optional<int> nice{};
  std::vector<unsigned> cpus{};  ///< Empty: as ours.
};

enum class StartBroker : std::uint8_t { automatic, always, never };

struct Pipeline {
  std::string socket{};  ///< Of the broker; empty: the default.
  StartBroker start_broker = StartBroker::automatic;
  Process broker{};
  std::vector<Process> processes{};  ///< In the order of the file.
};

/// Errors begin with "FILE:LINE:COLUMN: ". Relative paths are relative to `folder`; those of what
/// is written (an annotator's picture, what a recognizer saves) to `output`, if it is not empty.
Result<Pipeline> parse_pipeline(std::string_view text, const std::string& source_name,
                                const std::string& folder, const std::string& output = {});
/// `folder` is the file's; a relative `output` is relative to the working directory.
Result<Pipeline> load_pipeline(const std::string& path, const std::string& output = {});

}  // namespace sluice::run
