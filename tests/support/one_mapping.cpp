#include "tests/support/one_mapping.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <map>
#include <mutex>
#include <utility>

extern "C" {
void* __real_mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset);
int __real_munmap(void* address, size_t length);
void* __wrap_mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset);
void* __wrap_mmap64(void* address, size_t length, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void* address, size_t length);
}

namespace {

struct Mapping {
  std::pair<dev_t, ino_t> file;
  size_t length = 0;
  unsigned users = 0;
};

struct Table {
  std::mutex mutex;
  std::map<void*, Mapping> by_address;
  std::map<std::pair<dev_t, ino_t>, void*> by_file;
  std::uint64_t shared = 0;
};

Table& table() {
  static auto* const instance = new Table;  // used until the very end of the program
  return *instance;
}

}  // namespace

extern "C" void* __wrap_mmap(void* address, size_t length, int protection, int flags, int fd,
                             off_t offset) {
  struct stat status {};
  const bool shareable = fd >= 0 && (flags & MAP_SHARED) != 0 && offset == 0 &&
                         address == nullptr && ::fstat(fd, &status) == 0;
  if (!shareable) return __real_mmap(address, length, protection, flags, fd, offset);
  const std::pair file{status.st_dev, status.st_ino};
  Table& t = table();
  const std::lock_guard lock{t.mutex};
  if (const auto known = t.by_file.find(file); known != t.by_file.end()) {
    Mapping& mapping = t.by_address[known->second];
    if (protection == PROT_READ && mapping.length == length) {
      ++mapping.users;
      ++t.shared;
      return known->second;
    }
  }
  void* result = __real_mmap(address, length, protection, flags, fd, offset);
  if (result != MAP_FAILED && (protection & PROT_WRITE) != 0) {
    t.by_file[file] = result;
    t.by_address[result] = {file, length, 1};
  }
  return result;
}

extern "C" void* __wrap_mmap64(void* address, size_t length, int protection, int flags, int fd,
                               off_t offset) {
  return __wrap_mmap(address, length, protection, flags, fd, offset);
}

extern "C" int __wrap_munmap(void* address, size_t length) {
  Table& t = table();
  const std::lock_guard lock{t.mutex};
  if (const auto known = t.by_address.find(address); known != t.by_address.end()) {
    if (--known->second.users > 0) return 0;
    t.by_file.erase(known->second.file);
    t.by_address.erase(known);
  }
  return __real_munmap(address, length);
}

namespace sluice::test {

std::uint64_t shared_mappings() {
  Table& t = table();
  const std::lock_guard lock{t.mutex};
  return t.shared;
}

}  // namespace sluice::test
