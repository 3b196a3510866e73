// What a running process uses, as the kernel counts it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::run {

struct Memory {
  std::uint64_t pss_bytes = 0;      ///< A page that n processes share counts as an nth.
  std::uint64_t private_bytes = 0;  ///< What would be free if this process alone ended.
};

/// In user and in kernel mode, of the process and the children that it has waited for: what wait4
/// tells at its end. Nothing when it is gone.
std::optional<std::uint64_t> processor_ns_of(pid_t pid);

/// Nothing when it is gone, or belongs to somebody else.
std::optional<Memory> memory_of(pid_t pid);

/// Contents of /proc/<pid>/stat to clock ticks, and of /proc/<pid>/smaps_rollup to bytes.
std::optional<std::uint64_t> parse_stat(std::string_view text);
std::optional<Memory> parse_smaps_rollup(std::string_view text);

}  // namespace sluice::run
