// Memory with one writer: created, mapped read-write once, sealed; then handed out read-only.
//
// A Segment is what the creator keeps: the descriptor and its one writable mapping. A View is what
// everybody else gets from a descriptor: verified first (a memfd, sealed so that it can neither
// shrink, nor grow, nor be mapped writable again, of exactly the expected size), then mapped
// read-only. What was not verified is never mapped.
//
// Both are move-only resources; a moved-from one is empty. No operation blocks on another process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "shm/fd.hpp"
#include "shm/private_export.hpp"
#include "sluice/options.hpp"
#include "sluice/result.hpp"

namespace boost::interprocess {
class mapped_region;
}

namespace sluice::shm {

/// Size of an ordinary page as the running kernel has it: 4 KiB, or 16 KiB on a Raspberry Pi 5.
/// `SLUICE_PAGE_BYTES` in the environment overrides it upwards, to test that logic.
SLUICE_PRIVATE_EXPORT std::size_t page_bytes() noexcept;

/// `bytes` rounded up to a multiple of `unit`, a power of two.
constexpr std::uint64_t round_up(std::uint64_t bytes, std::uint64_t unit) noexcept {
  return (bytes + unit - 1) & ~(unit - 1);
}

struct SegmentOptions {
  HugePages huge_pages = HugePages::none;
  bool commit = false;    ///< Commit all of it now.
  bool prefault = false;  ///< Map every page now; implies commit.
};

class SLUICE_PRIVATE_EXPORT Segment {
 public:
  Segment() noexcept;
  Segment(Segment&&) noexcept;
  Segment& operator=(Segment&&) noexcept;
  ~Segment();

  /// Creates `bytes` (rounded up to pages) of zeroed memory, maps it writable and seals it. The
  /// writable mapping does not survive a fork: the child has nothing there.
  static Result<Segment> create(const char* name, std::uint64_t bytes, const SegmentOptions& = {});

  /// Commits the pages that contain the range, so that writing them can never raise SIGBUS.
  /// False when the system has no memory for it; nothing is lost then.
  [[nodiscard]] bool commit(std::uint64_t offset, std::uint64_t bytes) noexcept;

  /// A new read-only descriptor of this memory, to be handed to others.
  [[nodiscard]] Result<UniqueFd> share() const;

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] bool valid() const noexcept { return data_ != nullptr; }

 private:
  UniqueFd fd_;
  std::unique_ptr<boost::interprocess::mapped_region> region_;
  std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
  std::uint64_t commit_unit_ = 0;
};

class SLUICE_PRIVATE_EXPORT View {
 public:
  View() noexcept;
  View(View&&) noexcept;
  View& operator=(View&&) noexcept;
  ~View();

  /// Verifies what another process handed over and maps it read-only.
  /// @param what  names the thing in error messages.
  /// @param expected_bytes  exact size; 0 accepts any size and trusts the descriptor's own.
  static Result<View> open(int fd, const char* what, std::uint64_t expected_bytes = 0,
                           bool prefault = false);

  /// Maps the first `bytes` of a file in memory that is not sealed, read-only. Whoever may write it
  /// may change it, and raise SIGBUS here by shortening it: only for memory of a system that the
  /// broker's configuration trusts so far (Action::lend).
  static Result<View> open_foreign(int fd, const char* what, std::uint64_t bytes);

  [[nodiscard]] const std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] bool valid() const noexcept { return data_ != nullptr; }

 private:
  static Result<View> map_whole(int fd, const char* what, std::uint64_t bytes);

  std::unique_ptr<boost::interprocess::mapped_region> region_;
  const std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
};

/// An Error of kind `system` with the errno of the call that just failed.
SLUICE_PRIVATE_EXPORT Error system_error(const std::string& what);

}  // namespace sluice::shm
