// Writing at random, and trying what must be refused. Knows nothing of Sluice.
#pragma once

#include "tests/process/maps.hpp"
#include "tests/support/emulated.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace sluice::test {

inline std::uint64_t monotonic_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(t.tv_nsec);
}

/// Writes into the mappings until the time is over: words that are random, small, all ones, single
/// bits, or a neighbour's; mostly near the front, where the small structures are. `between` is
/// called every so often. Returns how many writes were made.
template <class Between>
std::uint64_t scribble(const std::vector<Mapping>& mappings, unsigned seed, std::uint64_t until_ns,
                       Between between) {
  std::mt19937_64 random{seed};
  std::uint64_t writes = 0;
  while (!mappings.empty() && monotonic_ns() < until_ns) {
    for (int i = 0; i < 256; ++i, ++writes) {
      const Mapping& m = mappings[random() % mappings.size()];
      const std::size_t near = m.size() < 16'384 ? m.size() : 16'384;
      const std::size_t at = random() % ((random() & 3) != 0 ? near : m.size()) & ~std::size_t{7};
      std::uint64_t value = random();
      switch (random() % 6) {
        case 0:
          value &= 0xff;
          break;
        case 1:
          value = UINT64_MAX;
          break;
        case 2:
          value = std::uint64_t{1} << value % 64;
          break;
        case 3:
          std::memcpy(&value, m.data() + random() % near / 8 * 8, sizeof value);
          break;
        case 4:
          value = 0;
          break;
        default:
          break;
      }
      // Single bytes and halves as well.
      const std::size_t sizes[] = {1, 4, 8, 8};
      std::memcpy(m.data() + at, &value, sizes[random() % 4]);
    }
    between();
  }
  return writes;
}

/// Tries to change what lies behind a descriptor that was handed to us to read. Each way that the
/// kernel did not refuse is printed; returns how many.
inline int break_in(int fd, bool may_reopen) {
  int holes = 0;
  const auto refused = [&](bool done, const char* what) {
    if (!done) return;
    std::fprintf(stderr, "not refused: %s\n", what);
    ++holes;
  };
  struct stat status {};
  if (::fstat(fd, &status) != 0) return 1;
  const auto size = static_cast<std::size_t>(status.st_size);
  const auto attack = [&](int target) {
    void* writable = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, target, 0);
    refused(writable != MAP_FAILED, "a writable mapping");
    void* readable = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, target, 0);
    if (readable != MAP_FAILED) {
      refused(::mprotect(readable, size, PROT_READ | PROT_WRITE) == 0, "mprotect");
      refused(heeds_advice(readable, size) && ::madvise(readable, size, MADV_REMOVE) == 0,
              "MADV_REMOVE");
      ::munmap(readable, size);
    }
    refused(::pwrite(target, "x", 1, 0) == 1, "pwrite");
    refused(::ftruncate(target, 0) == 0, "truncating");
    refused(::ftruncate(target, static_cast<off_t>(2 * size)) == 0, "growing");
    refused(::fallocate(target, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                        static_cast<off_t>(size)) == 0,
            "punching a hole");
    refused(::fallocate(target, 0, 0, static_cast<off_t>(2 * size)) == 0, "growing by fallocate");
    refused(::fcntl(target, F_ADD_SEALS, F_SEAL_WRITE) == 0, "another seal");
  };
  attack(fd);
  refused(::fallocate(fd, 0, 0, static_cast<off_t>(size)) == 0, "committing memory");
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  refused(!may_reopen && ::fchmod(fd, 0777) == 0, "fchmod");
  for (const int way : {O_RDWR, O_WRONLY}) {
    const int again = ::open(path.c_str(), way | O_CLOEXEC);
    if (again < 0) continue;
    refused(!may_reopen, "reopening it for writing");
    attack(again);
    ::close(again);
  }
  return holes;
}

/// Tries to open the memory of another process through its /proc entry. How often that worked.
inline int break_in(pid_t pid) {
  int holes = 0;
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
  for (int fd = 0; fd < 256; ++fd) {
    const int opened = ::open((folder + "/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC);
    if (opened < 0) continue;
    std::fprintf(stderr, "not refused: %s/%d\n", folder.c_str(), fd);
    ++holes;
    ::close(opened);
  }
  return holes;
}

}  // namespace sluice::test
