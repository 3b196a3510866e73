#include "tests/support/fragile_disk.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <set>
#include <utility>

namespace sluice::test {
namespace {

constexpr std::uint64_t kSector = 512;

// What SQLite allocates for an open file; it begins with SQLite's part.
struct OpenFile {
  sqlite3_file base{};
  FragileDisk* disk = nullptr;
  FragileDisk::InodePointer inode;
  std::string path;
  bool sync_folder = false;  ///< With the next sync.
  bool delete_on_close = false;
  int lock = SQLITE_LOCK_NONE;
  std::array<int, 8> shm{};  ///< 0, 1: shared, 2: exclusive.
};

OpenFile& file_of(sqlite3_file* file) { return *reinterpret_cast<OpenFile*>(file); }

void let_go(OpenFile& file, int level) {
  FragileDisk::Inode& inode = *file.inode;
  if (file.lock == SQLITE_LOCK_EXCLUSIVE) inode.exclusive = false;
  if (file.lock >= SQLITE_LOCK_PENDING) inode.pending = false;
  if (file.lock >= SQLITE_LOCK_RESERVED) inode.reserved = false;
  if (file.lock >= SQLITE_LOCK_SHARED && level == SQLITE_LOCK_NONE) --inode.shared;
  file.lock = std::min(file.lock, level);
}

int x_close(sqlite3_file* base) {
  OpenFile& file = file_of(base);
  let_go(file, SQLITE_LOCK_NONE);
  if (file.delete_on_close) (void)file.disk->remove(file.path);
  file.~OpenFile();
  return SQLITE_OK;
}

int x_read(sqlite3_file* base, void* out, int size, sqlite3_int64 at) {
  OpenFile& file = file_of(base);
  if (file.disk->is_off()) return SQLITE_IOERR_READ;
  const std::string& bytes = file.inode->now;
  const auto begin = static_cast<std::size_t>(at), wanted = static_cast<std::size_t>(size);
  std::memset(out, 0, wanted);
  if (begin >= bytes.size()) return SQLITE_IOERR_SHORT_READ;
  const std::size_t got = std::min(wanted, bytes.size() - begin);
  std::memcpy(out, bytes.data() + begin, got);
  return got == wanted ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

int x_write(sqlite3_file* base, const void* bytes, int size, sqlite3_int64 at) {
  OpenFile& file = file_of(base);
  bool full = false;
  if (file.disk->write(*file.inode, static_cast<std::uint64_t>(at), static_cast<const char*>(bytes),
                       static_cast<std::uint64_t>(size), full)) {
    return SQLITE_OK;
  }
  return full ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

int x_truncate(sqlite3_file* base, sqlite3_int64 size) {
  OpenFile& file = file_of(base);
  return file.disk->truncate(*file.inode, static_cast<std::uint64_t>(size)) ? SQLITE_OK
                                                                            : SQLITE_IOERR_TRUNCATE;
}

int x_sync(sqlite3_file* base, int /*flags*/) {
  OpenFile& file = file_of(base);
  if (!file.disk->sync(*file.inode, file.sync_folder)) return SQLITE_IOERR_FSYNC;
  file.sync_folder = false;
  return SQLITE_OK;
}

int x_size(sqlite3_file* base, sqlite3_int64* size) {
  OpenFile& file = file_of(base);
  if (file.disk->is_off()) return SQLITE_IOERR_FSTAT;
  *size = static_cast<sqlite3_int64>(file.inode->now.size());
  return SQLITE_OK;
}

int x_lock(sqlite3_file* base, int level) {
  OpenFile& file = file_of(base);
  FragileDisk::Inode& inode = *file.inode;
  if (file.lock >= level) return SQLITE_OK;
  if (file.lock < SQLITE_LOCK_SHARED) {
    if (inode.pending || inode.exclusive) return SQLITE_BUSY;
    ++inode.shared;
    file.lock = SQLITE_LOCK_SHARED;
  }
  if (level >= SQLITE_LOCK_RESERVED && file.lock < SQLITE_LOCK_RESERVED) {
    if (inode.reserved) return SQLITE_BUSY;
    inode.reserved = true;
    file.lock = SQLITE_LOCK_RESERVED;
  }
  if (level == SQLITE_LOCK_EXCLUSIVE) {
    inode.pending = true;
    file.lock = SQLITE_LOCK_PENDING;
    if (inode.shared > 1) return SQLITE_BUSY;
    inode.exclusive = true;
    file.lock = SQLITE_LOCK_EXCLUSIVE;
  }
  return SQLITE_OK;
}

int x_unlock(sqlite3_file* base, int level) {
  let_go(file_of(base), level);
  return SQLITE_OK;
}

int x_check_reserved(sqlite3_file* base, int* out) {
  *out = file_of(base).inode->reserved ? 1 : 0;
  return SQLITE_OK;
}

int x_control(sqlite3_file* /*base*/, int /*what*/, void* /*value*/) { return SQLITE_NOTFOUND; }
int x_sector(sqlite3_file* /*base*/) { return kSector; }
int x_device(sqlite3_file* /*base*/) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

int x_shm_map(sqlite3_file* base, int region, int size, int extend, void volatile** out) {
  auto& regions = file_of(base).inode->regions;
  const auto wanted = static_cast<std::size_t>(region);
  while (extend != 0 && regions.size() <= wanted) {
    regions.push_back(std::make_unique<char[]>(static_cast<std::size_t>(size)));
  }
  *out = wanted < regions.size() ? regions[wanted].get() : nullptr;
  return SQLITE_OK;
}

int x_shm_lock(sqlite3_file* base, int first, int count, int flags) {
  OpenFile& file = file_of(base);
  auto& locks = file.inode->shm_locks;  // > 0: so many share it, -1: one alone
  const int end = first + count;
  const auto at = [](auto& array, int i) -> int& { return array[static_cast<std::size_t>(i)]; };
  if ((flags & SQLITE_SHM_UNLOCK) != 0) {
    for (int i = first; i < end; ++i) {
      if (at(file.shm, i) == 1) --at(locks, i);
      if (at(file.shm, i) == 2) at(locks, i) = 0;
      at(file.shm, i) = 0;
    }
    return SQLITE_OK;
  }
  const bool shared = (flags & SQLITE_SHM_SHARED) != 0;
  for (int i = first; i < end; ++i) {
    const int others = at(locks, i) - (at(file.shm, i) == 1 ? 1 : 0);
    if (at(file.shm, i) != 2 && (at(locks, i) < 0 || (!shared && others > 0))) return SQLITE_BUSY;
  }
  for (int i = first; i < end; ++i) {
    if (shared && at(file.shm, i) == 0) ++at(locks, i);
    if (!shared) at(locks, i) = -1;
    at(file.shm, i) = shared ? std::max(at(file.shm, i), 1) : 2;
  }
  return SQLITE_OK;
}

void x_shm_barrier(sqlite3_file* /*base*/) {}

int x_shm_unmap(sqlite3_file* base, int remove) {
  if (remove != 0) file_of(base).inode->regions.clear();
  return SQLITE_OK;
}

const sqlite3_io_methods kMethods{
    2,          x_close,       x_read,           x_write,   x_truncate, x_sync,   x_size,
    x_lock,     x_unlock,      x_check_reserved, x_control, x_sector,   x_device, x_shm_map,
    x_shm_lock, x_shm_barrier, x_shm_unmap,      nullptr,   nullptr};

FragileDisk& disk_of(sqlite3_vfs* vfs) { return *static_cast<FragileDisk*>(vfs->pAppData); }

int v_open(sqlite3_vfs* vfs, const char* path, sqlite3_file* base, int flags, int* out_flags) {
  FragileDisk& disk = disk_of(vfs);
  base->pMethods = nullptr;
  if (disk.is_off()) return SQLITE_CANTOPEN;
  static int temporary = 0;
  const std::string name = path != nullptr ? path : "/temporary-" + std::to_string(++temporary);
  bool created = false;
  auto inode = disk.open(name, (flags & SQLITE_OPEN_CREATE) != 0, created);
  if (inode == nullptr) return SQLITE_CANTOPEN;
  auto* file = new (base) OpenFile;
  file->disk = &disk;
  file->inode = std::move(inode);
  file->path = name;
  file->delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
  file->sync_folder =
      created &&
      (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL)) != 0;
  file->base.pMethods = &kMethods;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int v_delete(sqlite3_vfs* vfs, const char* path, int sync_folder) {
  FragileDisk& disk = disk_of(vfs);
  if (!disk.exists(path)) return disk.is_off() ? SQLITE_IOERR_DELETE : SQLITE_IOERR_DELETE_NOENT;
  if (!disk.remove(path)) return SQLITE_IOERR_DELETE;
  return sync_folder == 0 || disk.sync_folder(path) ? SQLITE_OK : SQLITE_IOERR_DIR_FSYNC;
}

int v_access(sqlite3_vfs* vfs, const char* path, int flags, int* out) {
  FragileDisk& disk = disk_of(vfs);
  if (disk.is_off()) return SQLITE_IOERR_ACCESS;
  // As SQLite's own: an empty file does not "exist".
  *out = flags == SQLITE_ACCESS_EXISTS ? disk.size(path) > 0 : disk.exists(path);
  return SQLITE_OK;
}

int v_full_path(sqlite3_vfs* /*vfs*/, const char* path, int size, char* out) {
  std::strncpy(out, path, static_cast<std::size_t>(size));
  return SQLITE_OK;
}

sqlite3_vfs* system_vfs() { return sqlite3_vfs_find(nullptr); }
int v_randomness(sqlite3_vfs* /*vfs*/, int size, char* out) {
  return system_vfs()->xRandomness(system_vfs(), size, out);
}
int v_sleep(sqlite3_vfs* /*vfs*/, int microseconds) { return microseconds; }
int v_time(sqlite3_vfs* /*vfs*/, double* out) {
  return system_vfs()->xCurrentTime(system_vfs(), out);
}
int v_last_error(sqlite3_vfs* /*vfs*/, int /*size*/, char* /*out*/) { return 0; }

}  // namespace

FragileDisk::FragileDisk() {
  static int number = 0;
  name_ = "fragile-" + std::to_string(++number);
  auto* vfs = new sqlite3_vfs{};
  vfs->iVersion = 1;
  vfs->szOsFile = sizeof(OpenFile);
  vfs->mxPathname = 512;
  vfs->zName = name_.c_str();
  vfs->pAppData = this;
  vfs->xOpen = v_open;
  vfs->xDelete = v_delete;
  vfs->xAccess = v_access;
  vfs->xFullPathname = v_full_path;
  vfs->xRandomness = v_randomness;
  vfs->xSleep = v_sleep;
  vfs->xCurrentTime = v_time;
  vfs->xGetLastError = v_last_error;
  vfs_ = vfs;
  sqlite3_vfs_register(vfs, 0);
}

FragileDisk::~FragileDisk() {
  auto* vfs = static_cast<sqlite3_vfs*>(vfs_);
  sqlite3_vfs_unregister(vfs);
  delete vfs;
}

bool FragileDisk::change() {
  if (off_) return false;
  ++operations_;
  if (cut_in_ != 0 && --cut_in_ == 0) off_ = true;
  // The operation at which it fails has been begun: it is at risk like the others, but a sync that
  // was cut promises nothing.
  return true;
}

FragileDisk::InodePointer FragileDisk::open(const std::string& path, bool create, bool& created) {
  const auto found = names_.find(path);
  if (found != names_.end()) return found->second;
  if (!create || !change()) return nullptr;
  created = true;
  auto inode = std::make_shared<Inode>();
  names_[path] = inode;
  names_at_risk_.push_back({"", path, inode});
  return off_ ? nullptr : inode;
}

bool FragileDisk::write(Inode& inode, std::uint64_t at, const char* bytes, std::uint64_t size,
                        bool& full) {
  if (capacity_ != 0 && at + size > inode.now.size()) {
    std::uint64_t sum = at + size - inode.now.size();
    for (const auto& [name, other] : names_) sum += other->now.size();
    if (sum > capacity_) {
      full = true;
      return false;
    }
  }
  if (!change()) return false;
  inode.at_risk.push_back({false, at, std::string{bytes, static_cast<std::size_t>(size)}});
  apply(inode.at_risk.back(), inode.now);
  return !off_;
}

bool FragileDisk::truncate(Inode& inode, std::uint64_t size) {
  if (!change()) return false;
  inode.at_risk.push_back({true, size, {}});
  apply(inode.at_risk.back(), inode.now);
  return !off_;
}

bool FragileDisk::sync(Inode& inode, bool folder_too) {
  if (!change() || off_) return false;
  inode.on_disk = inode.now;
  inode.at_risk.clear();
  return !folder_too || sync_folder("");
}

void FragileDisk::apply(Change& change, std::string& bytes) {
  if (change.truncates) {
    bytes.resize(static_cast<std::size_t>(change.at));
    return;
  }
  const std::size_t end = static_cast<std::size_t>(change.at) + change.bytes.size();
  if (bytes.size() < end) bytes.resize(end);
  bytes.replace(static_cast<std::size_t>(change.at), change.bytes.size(), change.bytes);
}

void FragileDisk::apply(const NameChange& change, std::map<std::string, InodePointer>& names) {
  if (!change.from.empty()) {
    const auto found = names.find(change.from);
    // Without its name on the disk there is nothing to rename or remove.
    if (found == names.end()) return;
    names.erase(found);
  }
  if (!change.to.empty()) names[change.to] = change.inode;
}

// Each write: kept, dropped, or torn. A fourth of the cuts keep a beginning of all that was written
// and nothing behind it, as disks without a queue of their own do.
void FragileDisk::lose(Inode& inode, std::mt19937_64& random) {
  const bool in_order = random() % 4 == 0;
  std::size_t kept = in_order ? random() % (inode.at_risk.size() + 1) : inode.at_risk.size();
  for (Change& change : inode.at_risk) {
    if (in_order) {
      if (kept == 0) break;
      --kept;
      apply(change, inode.on_disk);
      continue;
    }
    const std::uint64_t fate = random() % 3;
    if (fate == 0) continue;
    if (fate == 1 || change.truncates) {
      apply(change, inode.on_disk);
      continue;
    }
    const std::uint64_t end = change.at + change.bytes.size();
    for (std::uint64_t at = change.at; at < end;) {
      const std::uint64_t next = std::min(end, (at / kSector + 1) * kSector);
      if (random() % 2 == 0) {
        Change part{false, at,
                    change.bytes.substr(static_cast<std::size_t>(at - change.at),
                                        static_cast<std::size_t>(next - at))};
        apply(part, inode.on_disk);
      }
      at = next;
    }
  }
  inode.now = inode.on_disk;
  inode.at_risk.clear();
}

void FragileDisk::restore(std::uint64_t seed) {
  std::mt19937_64 random{seed};
  const bool in_order = random() % 2 == 0;
  std::size_t kept = in_order ? random() % (names_at_risk_.size() + 1) : names_at_risk_.size();
  for (const NameChange& change : names_at_risk_) {
    if (in_order ? kept-- == 0 : random() % 2 == 0) {
      if (in_order) break;
      continue;
    }
    apply(change, names_on_disk_);
  }
  names_at_risk_.clear();
  names_ = names_on_disk_;
  // In an order that does not depend on addresses.
  std::set<Inode*> done;
  for (auto& [name, inode] : names_) {
    if (!done.insert(inode.get()).second) continue;
    lose(*inode, random);
    // Locks and the log's index are the dead machine's.
    *inode = Inode{inode->now, inode->on_disk, {}, false, 0, false, false, false, {}, {}};
  }
  off_ = false;
  cut_in_ = 0;
}

std::string FragileDisk::contents(const std::string& path) {
  const auto found = names_.find(path);
  return found == names_.end() ? std::string{} : found->second->now;
}

void FragileDisk::set_contents(const std::string& path, const std::string& bytes) {
  auto inode = std::make_shared<Inode>();
  inode->now = inode->on_disk = bytes;
  names_[path] = names_on_disk_[path] = inode;
}

std::vector<std::string> FragileDisk::names() const {
  std::vector<std::string> all;
  for (const auto& [name, inode] : names_) all.push_back(name);
  return all;
}

bool FragileDisk::exists(const std::string& path) { return !off_ && names_.contains(path); }

std::uint64_t FragileDisk::size(const std::string& path) {
  const auto found = names_.find(path);
  return off_ || found == names_.end() ? 0 : found->second->now.size();
}

bool FragileDisk::rename(const std::string& from, const std::string& to) {
  const auto found = names_.find(from);
  if (found == names_.end() || !change()) return false;
  const NameChange renamed{from, to, found->second};
  apply(renamed, names_);
  names_at_risk_.push_back(renamed);
  return !off_;
}

bool FragileDisk::remove(const std::string& path) {
  const auto found = names_.find(path);
  if (found == names_.end() || !change()) return false;
  const NameChange removed{path, "", found->second};
  apply(removed, names_);
  names_at_risk_.push_back(removed);
  return !off_;
}

bool FragileDisk::sync_folder(const std::string& /*path*/) {
  if (!change() || off_) return false;
  names_on_disk_ = names_;
  names_at_risk_.clear();
  return true;
}

std::vector<std::string> FragileDisk::beside(const std::string& path) {
  std::vector<std::string> found;
  if (off_) return found;
  for (const auto& [name, inode] : names_) {
    if (name.starts_with(path + ".")) found.push_back(name);
  }
  return found;
}

}  // namespace sluice::test
