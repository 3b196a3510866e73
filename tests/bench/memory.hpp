// What a group of processes occupies in memory.
//
//   private   sum over the processes of Pss - Pss_Shmem (/proc/PID/smaps_rollup): heap, stack,
//   touched code
//             and data; a page that n processes share counts 1/n in each, also when some of them
//             are not in the group
//   shared    sum over the shared memory objects that any of them maps (files in /dev/shm, memfds,
//   shared
//             anonymous memory) of the pages that are allocated, each object once, whether or not a
//             process has touched every page (st_blocks, through /proc/PID/map_files)
//
// Without the right to read map_files (not root) `shared` is the sum of Pss_Shmem: allocated pages
// that nobody has touched are then missing, and `exact` is false. Kernel memory (socket buffers,
// page tables) is not part of it. The harness's own control block is left out.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>

namespace sluice::bench {

struct MemoryUse {
  std::uint64_t private_bytes = 0;
  std::uint64_t shared_bytes = 0;
  bool exact = true;
};

MemoryUse memory_use(std::span<const pid_t> processes);

}  // namespace sluice::bench
