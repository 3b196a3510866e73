// A disk in memory whose power can be cut, as a VFS of SQLite.
//
// Files have contents, and the folder has names; both exist twice: as programs see them, and as
// they are on the disk for certain. What was written since a file's last sync, and what was
// created, renamed or removed since the folder's, is at risk: at the cut each of these is kept,
// dropped, or (writes) torn at 512-byte sectors, at random. After the cut nothing works until power
// is back; then what is left is all there is.
//
// As on Linux: syncing a log or journal that was just created syncs the folder as well, as SQLite
// does there; other files' names need Files::sync_folder.
#pragma once

#include "daemons/recorder/files.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace sluice::test {

class FragileDisk final : public recorder::Files {
 public:
  /// Registers itself with SQLite as `name()`.
  FragileDisk();
  FragileDisk(const FragileDisk&) = delete;
  FragileDisk& operator=(const FragileDisk&) = delete;
  ~FragileDisk() override;
  [[nodiscard]] const std::string& name() const { return name_; }

  /// The power fails at the n-th operation from now that changes the disk (write, truncate, sync,
  /// create, rename, remove), 1 being the next; 0: it does not.
  void cut_at(std::uint64_t n) { cut_in_ = n; }
  [[nodiscard]] bool is_off() const { return off_; }
  [[nodiscard]] std::uint64_t operations() const { return operations_; }
  /// Loses what is at risk, by the seed, and switches the power on.
  void restore(std::uint64_t seed);

  /// All files together; writes beyond that fail with "disk full".
  void set_capacity(std::uint64_t bytes) { capacity_ = bytes; }
  /// For damage: the contents of a file, as if they had been on the disk for long.
  std::string contents(const std::string& path);
  std::string& contents_of(const std::string& path) { return names_.at(path)->now; }
  void set_contents(const std::string& path, const std::string& bytes);
  [[nodiscard]] std::vector<std::string> names() const;

  // recorder::Files
  bool exists(const std::string& path) override;
  std::uint64_t size(const std::string& path) override;
  bool rename(const std::string& from, const std::string& to) override;
  bool remove(const std::string& path) override;
  bool sync_folder(const std::string& path) override;
  std::vector<std::string> beside(const std::string& path) override;

  // For the functions that SQLite calls.
  struct Change {
    bool truncates = false;
    std::uint64_t at = 0;  ///< Or the new size.
    std::string bytes;
  };
  struct Inode {
    std::string now;
    std::string on_disk;
    std::vector<Change> at_risk;
    bool deleted_on_close = false;
    // Locks and shared memory of the write-ahead log.
    int shared = 0;
    bool reserved = false, pending = false, exclusive = false;
    std::vector<std::unique_ptr<char[]>> regions;
    std::array<int, 8> shm_locks{};
  };
  using InodePointer = std::shared_ptr<Inode>;
  InodePointer open(const std::string& path, bool create, bool& created);
  bool write(Inode& inode, std::uint64_t at, const char* bytes, std::uint64_t size, bool& full);
  bool truncate(Inode& inode, std::uint64_t size);
  bool sync(Inode& inode, bool folder_too);

 private:
  struct NameChange {
    std::string from;  ///< Empty: created.
    std::string to;    ///< Empty: removed.
    InodePointer inode;
  };
  bool change();  ///< Counts; false: the power is off.
  static void apply(Change& change, std::string& bytes);
  void lose(Inode& inode, std::mt19937_64& random);
  static void apply(const NameChange& change, std::map<std::string, InodePointer>& names);

  std::string name_;
  void* vfs_ = nullptr;
  std::map<std::string, InodePointer> names_, names_on_disk_;
  std::vector<NameChange> names_at_risk_;
  std::uint64_t cut_in_ = 0, operations_ = 0, capacity_ = 0;
  bool off_ = false;
};

}  // namespace sluice::test
