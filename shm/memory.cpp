// How memory comes to have exactly one writer.
//
// The creator makes a memfd, maps it read-write, and only then adds the seals. F_SEAL_FUTURE_WRITE
// leaves that one mapping writable and refuses every later one, in every process and also through
// /proc/self/fd; SHRINK and GROW fix the size, so that no reader can be hit by SIGBUS; SEAL fixes
// the seals. A reader checks all four before it maps: with them the size that fstat reports can be
// relied on for ever.
//
// Two things the seals do not cover are closed here: a forked child would inherit the writable
// mapping (MADV_DONTFORK), and another user could reopen the memfd, whose mode is 0777 by default,
// and commit memory in our name (fchmod).
#include "shm/memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/interprocess/mapped_region.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace sluice::shm {
namespace {

namespace bip = boost::interprocess;

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
constexpr std::uint64_t kHugePageBytes = std::uint64_t{2} << 20;

// What Boost.Interprocess asks of a thing that can be mapped.
struct Mappable {
  int fd;
  bip::mode_t mode;
  [[nodiscard]] bip::mapping_handle_t get_mapping_handle() const {
    return {fd, false};  // a file descriptor, not a System V segment
  }
  [[nodiscard]] bip::mode_t get_mode() const { return mode; }
};

Result<std::unique_ptr<bip::mapped_region>> map(int fd, bip::mode_t mode, std::uint64_t bytes,
                                                const std::string& what) {
  try {
    return std::make_unique<bip::mapped_region>(Mappable{fd, mode}, mode, 0,
                                                static_cast<std::size_t>(bytes));
  } catch (const bip::interprocess_exception& e) {
    return Error{Errc::system, e.get_native_error(),
                 "cannot map " + what + " (" + std::to_string(bytes) + " bytes): " + e.what()};
  }
}

int create_memfd(const char* name, HugePages huge_pages) {
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  if (huge_pages == HugePages::hugetlb) flags |= MFD_HUGETLB | MFD_HUGE_2MB;
  const int fd = ::memfd_create(name, flags | MFD_NOEXEC_SEAL);
  // Kernels before 6.3 do not know MFD_NOEXEC_SEAL.
  return fd < 0 && errno == EINVAL ? ::memfd_create(name, flags) : fd;
}

void populate(std::byte* data, std::uint64_t bytes, int advice) {
  // MADV_POPULATE_* is from Linux 5.14; the pages are then mapped at their first use instead.
  (void)::madvise(data, static_cast<std::size_t>(bytes), advice);
}

}  // namespace

Error system_error(const std::string& what) {
  const int saved = errno;
  return Error{Errc::system, saved, what + ": " + std::strerror(saved)};
}

std::size_t page_bytes() noexcept {
  static const std::size_t bytes = [] {
    auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    if (const char* text = std::getenv("SLUICE_PAGE_BYTES")) {
      const unsigned long wanted = std::strtoul(text, nullptr, 10);
      if (wanted > size && (wanted & (wanted - 1)) == 0) size = wanted;
    }
    return size;
  }();
  return bytes;
}

Segment::Segment() noexcept = default;
Segment::~Segment() = default;
Segment::Segment(Segment&& other) noexcept
    : fd_(std::move(other.fd_)),
      region_(std::move(other.region_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      commit_unit_(other.commit_unit_) {}
Segment& Segment::operator=(Segment&& other) noexcept {
  fd_ = std::move(other.fd_);
  region_ = std::move(other.region_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  commit_unit_ = other.commit_unit_;
  return *this;
}

Result<Segment> Segment::create(const char* name, std::uint64_t bytes,
                                const SegmentOptions& options) {
  Segment segment;
  const bool hugetlb = options.huge_pages == HugePages::hugetlb;
  const char* const remedy =
      hugetlb ? " (too few huge pages of 2 MiB are reserved: sysctl vm.nr_hugepages)" : "";
  segment.commit_unit_ = hugetlb ? kHugePageBytes : page_bytes();
  segment.size_ = round_up(bytes, segment.commit_unit_);
  const std::string what = std::string("segment '") + name + "'";
  if (bytes == 0 || segment.size_ > SIZE_MAX / 2) {
    return Error{Errc::invalid_argument, 0,
                 what + " of " + std::to_string(bytes) + " bytes does not fit this process"};
  }

  segment.fd_.reset(create_memfd(name, options.huge_pages));
  if (!segment.fd_.valid()) {
    return system_error("memfd_create for " + what + remedy);
  }
  if (::ftruncate(segment.fd_.get(), static_cast<off_t>(segment.size_)) != 0) {
    return system_error("setting the size of " + what + " to " + std::to_string(segment.size_));
  }
  auto region = map(segment.fd_.get(), bip::read_write, segment.size_, what);
  if (!region) {
    region.error().message += remedy;
    return std::move(region).error();
  }
  segment.region_ = std::move(*region);
  segment.data_ = static_cast<std::byte*>(segment.region_->get_address());

  const auto length = static_cast<std::size_t>(segment.size_);
  if (::madvise(segment.data_, length, MADV_DONTFORK) != 0) {
    return system_error("keeping " + what + " out of forked children");
  }
  if (options.huge_pages == HugePages::transparent) {
    (void)::madvise(segment.data_, length, MADV_HUGEPAGE);  // advice; the kernel may lack it
  }
  if ((options.commit || options.prefault) && !segment.commit(0, segment.size_)) {
    return system_error("committing " + std::to_string(segment.size_) + " bytes for " + what);
  }
  if (options.prefault) populate(segment.data_, segment.size_, MADV_POPULATE_WRITE);
  if (::fchmod(segment.fd_.get(), 0400) != 0) return system_error("fchmod of " + what);
  if (::fcntl(segment.fd_.get(), F_ADD_SEALS, kSeals) != 0) {
    return system_error("sealing " + what + " (Linux 5.1 or newer is needed)");
  }
  return segment;
}

bool Segment::commit(std::uint64_t offset, std::uint64_t bytes) noexcept {
  const std::uint64_t begin = offset & ~(commit_unit_ - 1);
  const std::uint64_t end = std::min(round_up(offset + bytes, commit_unit_), size_);
  int result = 0;
  do {
    result = ::fallocate(fd_.get(), 0, static_cast<off_t>(begin), static_cast<off_t>(end - begin));
  } while (result != 0 && errno == EINTR);
  return result == 0;
}

Result<UniqueFd> Segment::share() const {
  const std::string path = "/proc/self/fd/" + std::to_string(fd_.get());
  UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  // Without /proc the read-write descriptor is handed out; the seals protect the contents anyway.
  if (!fd.valid()) fd.reset(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) return system_error("duplicating the descriptor of a segment");
  return fd;
}

View::View() noexcept = default;
View::~View() = default;
View::View(View&& other) noexcept
    : region_(std::move(other.region_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}
View& View::operator=(View&& other) noexcept {
  region_ = std::move(other.region_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

Result<View> View::open(int fd, const char* what, std::uint64_t expected_bytes, bool prefault) {
  const auto refuse = [&](const std::string& why) {
    return Error{Errc::untrusted, 0, std::string(what) + " was not accepted: " + why};
  };
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return refuse("the descriptor is not a memfd");
  if ((seals & F_SEAL_SHRINK) == 0 || (seals & F_SEAL_GROW) == 0) {
    return refuse("its size is not sealed (F_SEAL_SHRINK, F_SEAL_GROW)");
  }
  if ((seals & (F_SEAL_FUTURE_WRITE | F_SEAL_WRITE)) == 0) {
    return refuse("it is not sealed against further writers (F_SEAL_FUTURE_WRITE)");
  }
  struct stat status {};
  if (::fstat(fd, &status) != 0) return system_error(std::string("fstat of ") + what);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size == 0 || (expected_bytes != 0 && size != expected_bytes)) {
    return refuse("it has " + std::to_string(size) + " bytes, expected " +
                  std::to_string(expected_bytes));
  }
  if (size > SIZE_MAX / 2) return refuse("it is larger than this process can map");
  auto view = map_whole(fd, what, size);
  if (view && prefault) populate(const_cast<std::byte*>(view->data_), size, MADV_POPULATE_READ);
  return view;
}

Result<View> View::open_foreign(int fd, const char* what, std::uint64_t bytes) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return system_error(std::string("fstat of ") + what);
  if (!S_ISREG(status.st_mode) || status.st_size < 0 ||
      static_cast<std::uint64_t>(status.st_size) < bytes || bytes == 0 || bytes > SIZE_MAX / 2) {
    return Error{Errc::untrusted, 0,
                 std::string(what) + " was not accepted: it is no file in memory of " +
                     std::to_string(bytes) + " bytes"};
  }
  return map_whole(fd, what, bytes);
}

Result<View> View::map_whole(int fd, const char* what, std::uint64_t bytes) {
  View view;
  auto region = map(fd, bip::read_only, bytes, what);
  if (!region) return std::move(region).error();
  view.region_ = std::move(*region);
  view.data_ = static_cast<const std::byte*>(view.region_->get_address());
  view.size_ = bytes;
  return view;
}

}  // namespace sluice::shm
