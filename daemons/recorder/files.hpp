// What the store does with files beside SQLite: so that tests can put a disk of their own under it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sluice::recorder {

/// All return whether it was done. Paths are whole.
class Files {
 public:
  virtual ~Files() = default;
  [[nodiscard]] virtual bool exists(const std::string& path) = 0;
  [[nodiscard]] virtual std::uint64_t size(const std::string& path) = 0;  ///< 0: not there.
  virtual bool rename(const std::string& from, const std::string& to) = 0;
  virtual bool remove(const std::string& path) = 0;
  /// Makes what was created, renamed and removed in the folder of `path` survive a power cut.
  virtual bool sync_folder(const std::string& path) = 0;
  /// Paths that begin with `path` and a dot.
  [[nodiscard]] virtual std::vector<std::string> beside(const std::string& path) = 0;
};

/// The system's.
Files& system_files();

/// A file that the store once wrote to, and has moved away: PATH.<UTC>.r<first row>.
struct DatedFile {
  std::string path;
  std::int64_t first_row = 0;
};
std::string dated_path(const std::string& path, std::int64_t now_ns, std::int64_t first_row);
/// Oldest first.
std::vector<DatedFile> dated_files(Files& files, const std::string& path);

/// "20261121T093430Z".
std::string compact_utc(std::int64_t now_ns);

}  // namespace sluice::recorder
