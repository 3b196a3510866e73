// Arena: one sealed segment that holds many reader pages, or many wake pages, of one process.
//
// The process is the only writer of all of them; they go to processes of one user, which map the
// whole arena read-only through one descriptor. Cells are cut from memory that is committed when it
// is handed out. Thread-safe: a reader may end in any thread. Never on the frame path.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "shm/memory.hpp"
#include "sluice/result.hpp"

namespace sluice::shm {

struct Cell {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::byte* data = nullptr;
};

class Arena {
 public:
  /// Address space, of which little is there where pointers have 32 bits, and a process maps the
  /// arenas of all whom it talks to.
  static constexpr std::uint64_t kDefaultBytes = std::uint64_t{sizeof(void*) == 4 ? 2 : 16} << 20;

  /// Reserves address space for `bytes`; memory is committed as cells are allocated.
  static Result<std::shared_ptr<Arena>> create(const char* name,
                                               std::uint64_t bytes = kDefaultBytes);

  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// A zeroed, cache-line aligned cell. `exhausted` when the arena is full: create another.
  Result<Cell> allocate(std::uint64_t bytes);

  /// Gives a cell back. Whoever still maps it reads zeros, then whatever the next owner writes.
  void free(const Cell& cell);

  /// Gives a cell back as soon as `unused` says that nobody else looks at it any more; asked
  /// whenever a cell is allocated.
  void free_when(const Cell& cell, std::function<bool()> unused);

  [[nodiscard]] Result<UniqueFd> share() const { return segment_.share(); }
  [[nodiscard]] std::uint64_t size() const noexcept { return segment_.size(); }
  /// Bytes that cells occupy.
  [[nodiscard]] std::uint64_t used();

 private:
  struct Leaving {
    Cell cell;
    std::function<bool()> unused;
  };
  Arena() = default;
  void free_locked(const Cell& cell);
  void sweep();

  std::mutex mutex_;
  Segment segment_;
  std::uint64_t next_ = 0;
  std::uint64_t committed_ = 0;
  std::uint64_t used_ = 0;
  std::map<std::uint64_t, std::vector<std::uint64_t>> free_;  // offsets by cell size
  std::vector<Leaving> leaving_;
};

}  // namespace sluice::shm
