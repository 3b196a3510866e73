#include "daemons/recorder/files.hpp"

#include "shm/fd.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <string_view>

namespace sluice::recorder {
namespace {

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

class SystemFiles final : public Files {
 public:
  bool exists(const std::string& path) override { return ::access(path.c_str(), F_OK) == 0; }

  std::uint64_t size(const std::string& path) override {
    struct ::stat about {};
    if (::stat(path.c_str(), &about) != 0) return 0;
    return static_cast<std::uint64_t>(about.st_size);
  }

  bool rename(const std::string& from, const std::string& to) override {
    return ::rename(from.c_str(), to.c_str()) == 0;
  }

  bool remove(const std::string& path) override { return ::unlink(path.c_str()) == 0; }

  bool sync_folder(const std::string& path) override {
    const shm::UniqueFd folder{::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    return folder.valid() && ::fsync(folder.get()) == 0;
  }

  std::vector<std::string> beside(const std::string& path) override {
    std::vector<std::string> found;
    const std::string folder = folder_of(path);
    const auto slash = path.rfind('/');
    const std::string start = (slash == std::string::npos ? path : path.substr(slash + 1)) + ".";
    DIR* listing = ::opendir(folder.c_str());
    if (listing == nullptr) return found;
    while (const dirent* entry = ::readdir(listing)) {
      const std::string_view name{entry->d_name};
      if (name.starts_with(start))
        found.push_back(path + std::string(name.substr(start.size() - 1)));
    }
    ::closedir(listing);
    return found;
  }
};

constexpr int kRowDigits = 16;

}  // namespace

Files& system_files() {
  static SystemFiles files;  // holds nothing
  return files;
}

std::string compact_utc(std::int64_t now_ns) {
  const std::time_t seconds = static_cast<std::time_t>(now_ns / 1'000'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &parts);
  return text.data();
}

std::string dated_path(const std::string& path, std::int64_t now_ns, std::int64_t first_row) {
  std::array<char, 32> row{};
  std::snprintf(row.data(), row.size(), "%0*" PRId64, kRowDigits, first_row);
  return path + "." + compact_utc(now_ns) + ".r" + row.data();
}

std::vector<DatedFile> dated_files(Files& files, const std::string& path) {
  std::vector<DatedFile> found;
  for (std::string& name : files.beside(path)) {
    const auto dot = name.rfind(".r");
    if (dot == std::string::npos || name.size() - dot < 2 + kRowDigits) continue;
    DatedFile file;
    const char* end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + dot + 2, end, file.first_row);
    if (parsed.ec != std::errc{} || parsed.ptr != end) continue;  // -wal, -journal, of others
    file.path = std::move(name);
    found.push_back(std::move(file));
  }
  std::sort(found.begin(), found.end(),
            [](const DatedFile& a, const DatedFile& b) { return a.first_row < b.first_row; });
  return found;
}

}  // namespace sluice::recorder
