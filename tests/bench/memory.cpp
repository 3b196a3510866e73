#include "tests/bench/memory.hpp"

#include <sys/stat.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>

namespace sluice::bench {
namespace {

struct Pss {
  std::uint64_t all_bytes = 0;
  std::uint64_t shmem_bytes = 0;
};

Pss pss_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  Pss pss;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    std::uint64_t kib = 0;
    words >> key >> kib;
    if (key == "Pss:") pss.all_bytes = kib * 1024;
    if (key == "Pss_Shmem:") pss.shmem_bytes = kib * 1024;
  }
  return pss;
}

bool is_shared_memory(const std::string& name) {
  if (name.find("/memfd:bench-control") == 0) return false;
  return name.find("/dev/shm/") == 0 || name.find("/memfd:") == 0 || name.find("/dev/zero") == 0 ||
         name.find("/SYSV") == 0;
}

using Objects = std::map<std::pair<dev_t, ino_t>, std::uint64_t>;  // -> allocated bytes

/// Adds the shared memory objects that the process maps; false when one could not be examined.
bool add_objects(pid_t pid, Objects& objects) {
  const std::string directory = "/proc/" + std::to_string(pid);
  std::ifstream maps(directory + "/maps");
  for (std::string line; std::getline(maps, line);) {
    // address perms offset dev inode      name
    std::istringstream words(line);
    std::string range, permissions, offset, device, inode, name;
    words >> range >> permissions >> offset >> device >> inode >> std::ws;
    std::getline(words, name);
    if (permissions.size() < 4 || permissions[3] != 's' || !is_shared_memory(name)) continue;
    struct stat object {};
    if (stat((directory + "/map_files/" + range).c_str(), &object) != 0) return false;
    objects[{object.st_dev, object.st_ino}] = static_cast<std::uint64_t>(object.st_blocks) * 512;
  }
  return true;
}

}  // namespace

MemoryUse memory_use(std::span<const pid_t> processes) {
  MemoryUse use;
  Objects objects;
  std::uint64_t touched_bytes = 0;
  for (const pid_t pid : processes) {
    const Pss pss = pss_of(pid);
    use.private_bytes += pss.all_bytes - pss.shmem_bytes;
    touched_bytes += pss.shmem_bytes;
    use.exact = add_objects(pid, objects) && use.exact;
  }
  for (const auto& [object, bytes] : objects) use.shared_bytes += bytes;
  if (!use.exact) use.shared_bytes = touched_bytes;
  return use;
}

}  // namespace sluice::bench
