// A shell command as the handler of a request: input in, output out, within a deadline.
#pragma once

#include "sluice/subscriber.hpp"

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sluice::tools {

inline constexpr std::size_t kMaxCommandOutput = 64 * 1'024;

struct CommandCall {
  std::string command;  ///< For /bin/sh -c.
  std::span<const std::byte> input;
  /// In addition to this process's.
  std::vector<std::pair<std::string, std::string>> environment;
  Deadline deadline = Deadline::max();
  std::function<bool()> cancelled;  ///< Asked every now and then.
  std::size_t max_output = kMaxCommandOutput;
};

struct CommandEnd {
  enum class How { exited, too_late, cancelled, too_much, not_started };
  How how = How::exited;
  int code = 0;  ///< As a shell has it: 128 + the signal's number where one ended it.
  std::string output;
  std::string last_line;  ///< Of what it said on standard error, or why it could not be started.
};

/// Runs the command in a process group of its own, and returns when it has ended. What is
/// cancelled, late or says too much is told to end (SIGTERM), and killed half a second later; what
/// a command leaves running in its group is killed as well. SIGPIPE must be ignored. Thread-safe.
CommandEnd run_command(const CommandCall& call);

}  // namespace sluice::tools
