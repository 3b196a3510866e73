#include "daemons/iceoryx/segments.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

namespace sluice::iceoryx {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

std::optional<MappedFile> parse_line(const std::string& line, std::uint64_t& offset) {
  MappedFile file;
  std::uint64_t begin = 0, end = 0;
  unsigned major_number = 0, minor_number = 0;
  int path_at = 0;
  const int count =
      std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %x:%x %" SCNu64 " %n",
                  &begin, &end, &offset, &major_number, &minor_number, &file.inode, &path_at);
  if (count != 6 || path_at == 0) return std::nullopt;
  file.begin = static_cast<std::uintptr_t>(begin);
  file.end = static_cast<std::uintptr_t>(end);
  file.device = makedev(major_number, minor_number);
  file.path = line.substr(static_cast<std::size_t>(path_at));
  if (file.path.ends_with(kDeleted)) file.path.resize(file.path.size() - kDeleted.size());
  return file;
}

}  // namespace

std::vector<MappedFile> mapped_files(std::string_view maps, std::string_view folder) {
  std::vector<MappedFile> files;
  while (!maps.empty()) {
    const auto end = std::min(maps.find('\n'), maps.size());
    const std::string line{maps.substr(0, end)};
    maps.remove_prefix(std::min(end + 1, maps.size()));
    std::uint64_t offset = 0;
    auto file = parse_line(line, offset);
    if (!file || !file->path.starts_with(folder)) continue;
    // The kernel splits a mapping whose parts differ in their protection.
    if (!files.empty() && files.back().inode == file->inode &&
        files.back().device == file->device && files.back().end == file->begin &&
        offset == files.back().end - files.back().begin) {
      files.back().end = file->end;
    } else if (offset == 0) {
      files.push_back(std::move(*file));
    }
  }
  return files;
}

std::optional<MappedFile> find_mapped(const void* address, std::string_view folder) {
  std::ifstream in{"/proc/self/maps", std::ios::binary};
  const std::string maps{std::istreambuf_iterator<char>{in}, {}};
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  for (MappedFile& file : mapped_files(maps, folder)) {
    if (file.begin <= wanted && wanted < file.end) return std::move(file);
  }
  return std::nullopt;
}

Result<shm::UniqueFd> open_mapped(const MappedFile& file) {
  shm::UniqueFd fd{::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0) {
    const int code = errno;
    return Error{Errc::system, code,
                 "cannot open the iceoryx segment " + file.path + ": " + std::strerror(code) +
                     "; run the gateway as a user that may read it"};
  }
  // Its last page is mapped as a whole.
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  if (status.st_ino != file.inode || status.st_dev != file.device ||
      static_cast<std::uint64_t>(status.st_size) + page <= file.end - file.begin) {
    return Error{Errc::untrusted, 0,
                 file.path + " is not the segment that is mapped: another RouDi has replaced it"};
  }
  return fd;
}

}  // namespace sluice::iceoryx
