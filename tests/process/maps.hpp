// The memory that this process shares with others, as the kernel lists it.
//
// Who wants to know what it can write, or whether an address lies in a mapping, asks the kernel and
// not the code under test.
#pragma once

#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace sluice::test {

struct Mapping {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  bool writable = false;
  std::string name;  // "/memfd:sluice-pool (deleted)"

  [[nodiscard]] std::byte* data() const { return reinterpret_cast<std::byte*>(begin); }
  [[nodiscard]] std::size_t size() const { return end - begin; }
  [[nodiscard]] bool contains(const void* at, std::uint64_t bytes) const {
    const auto address = reinterpret_cast<std::uintptr_t>(at);
    return address >= begin && address < end && bytes <= end - address;
  }
};

/// All MAP_SHARED mappings of this process whose name contains `name`.
inline std::vector<Mapping> shared_mappings(const char* name = "/memfd:") {
  std::vector<Mapping> found;
  std::FILE* file = std::fopen("/proc/self/maps", "re");
  if (file == nullptr) return found;
  char line[512];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char rights[5] = {};
    int at = 0;
    if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %n", &begin, &end, rights,
                    &at) < 3) {
      continue;
    }
    std::string path{line + at};
    if (!path.empty() && path.back() == '\n') path.pop_back();
    if (rights[3] != 's' || path.find(name) == std::string::npos) continue;
    found.push_back({begin, end, rights[1] == 'w', std::move(path)});
  }
  std::fclose(file);
  return found;
}

}  // namespace sluice::test
