// The seals are the foundation of everything: these tests try to get round them.
#include "shm/memory.hpp"

#include "tests/support/must.hpp"
#include "tests/support/process_link.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace sluice::shm {
namespace {

using test::heeds_advice;
using test::must;

constexpr int kAllSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;

int memfd(const char* name, unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING) {
  return ::memfd_create(name, flags);
}

// The creator's own descriptor, found as an attacker of the same user would: through /proc.
UniqueFd writable_descriptor(const Segment& segment) {
  const UniqueFd shared = must(segment.share());
  const std::string path = "/proc/self/fd/" + std::to_string(shared.get());
  return UniqueFd{::open(path.c_str(), O_RDWR | O_CLOEXEC)};
}

TEST(Pages, HaveTheSystemsSizeUnlessOverridden) {
  if (std::getenv("SLUICE_PAGE_BYTES") != nullptr) GTEST_SKIP() << "SLUICE_PAGE_BYTES is set";
  EXPECT_EQ(page_bytes(), static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
}

// page_bytes() is asked once per process, so each case runs in a child that has not asked yet.
std::size_t page_bytes_with(const char* text) {
  const char* program = "/proc/self/exe";
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return 0;
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setenv("SLUICE_PAGE_BYTES", text, 1);
    ::dup2(ends[1], STDOUT_FILENO);
    ::execl(program, program, "--gtest_filter=Pages.AreTheUnitOfSegments", nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string output;
  std::array<char, 512> chunk{};
  for (ssize_t n = 0; (n = ::read(ends[0], chunk.data(), chunk.size())) > 0;) {
    output.append(chunk.data(), static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  ::waitpid(pid, nullptr, 0);
  const std::size_t at = output.find("page_bytes=");
  return at == std::string::npos ? 0 : std::strtoul(output.c_str() + at + 11, nullptr, 10);
}

// Also what page_bytes_with() starts.
TEST(Pages, AreTheUnitOfSegments) {
  const Segment segment = must(Segment::create("paged", 1));
  EXPECT_EQ(segment.size(), page_bytes());
  std::printf("page_bytes=%zu\n", page_bytes());
}

TEST(Pages, CanBeMadeLargerByTheEnvironment) {
  EXPECT_EQ(page_bytes_with("16384"), 16384u);
  EXPECT_EQ(page_bytes_with("65536"), 65536u);
}

TEST(Pages, IgnoreASizeThatIsTooSmallOrNoPowerOfTwo) {
  const auto real = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  EXPECT_EQ(page_bytes_with("512"), real);
  EXPECT_EQ(page_bytes_with("50000"), real);
  EXPECT_EQ(page_bytes_with("rubbish"), real);
}

TEST(Segments, AreZeroedAndRoundedUpToPages) {
  const Segment segment = must(Segment::create("zeroed", page_bytes() + 1));
  EXPECT_EQ(segment.size(), 2 * page_bytes());
  for (std::uint64_t i = 0; i < segment.size(); ++i) ASSERT_EQ(segment.data()[i], std::byte{0});
}

TEST(Segments, OfNoBytesOrMoreThanTheAddressSpaceAreRefused) {
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1} << 63}) {
    const auto segment = Segment::create("odd", bytes);
    ASSERT_FALSE(segment);
    EXPECT_EQ(segment.error().code, Errc::invalid_argument);
  }
}

TEST(Segments, MoveAndLeaveNothingBehind) {
  Segment one = must(Segment::create("moved", 1));
  std::byte* data = one.data();
  Segment two = std::move(one);
  EXPECT_FALSE(one.valid());
  EXPECT_EQ(one.size(), 0u);
  EXPECT_EQ(two.data(), data);
  one = std::move(two);
  EXPECT_EQ(one.data(), data);
  EXPECT_FALSE(two.valid());
}

TEST(Seals, AreAllThere) {
  const Segment segment = must(Segment::create("sealed", 1));
  const UniqueFd fd = must(segment.share());
  EXPECT_EQ(::fcntl(fd.get(), F_GET_SEALS) & kAllSeals, kAllSeals);
}

TEST(Seals, LeaveTheCreatorsMappingWritable) {
  const Segment segment = must(Segment::create("mine", page_bytes()));
  segment.data()[17] = std::byte{5};
  const UniqueFd fd = must(segment.share());
  const View view = must(View::open(fd.get(), "mine", segment.size()));
  EXPECT_EQ(view.data()[17], std::byte{5});
  segment.data()[17] = std::byte{6};
  EXPECT_EQ(view.data()[17], std::byte{6});
}

TEST(Seals, RefuseAWritableMappingOfASharedDescriptor) {
  const Segment segment = must(Segment::create("shared", page_bytes()));
  const UniqueFd fd = must(segment.share());
  EXPECT_EQ(::mmap(nullptr, segment.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0),
            MAP_FAILED);
  EXPECT_TRUE(errno == EPERM || errno == EACCES) << std::strerror(errno);
}

TEST(Seals, RefuseToMakeAViewWritable) {
  const Segment segment = must(Segment::create("viewed", page_bytes()));
  const UniqueFd fd = must(segment.share());
  const View view = must(View::open(fd.get(), "viewed"));
  auto* data = const_cast<std::byte*>(view.data());
  EXPECT_EQ(::mprotect(data, view.size(), PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(errno, EACCES);
}

TEST(Seals, RefuseAWritableMappingThroughProc) {
  const Segment segment = must(Segment::create("proc", page_bytes()));
  // fchmod closes this door for others; root and the same user may still get through it.
  const UniqueFd fd = writable_descriptor(segment);
  if (!fd.valid()) {
    EXPECT_EQ(errno, EACCES);
    return;
  }
  EXPECT_EQ(::mmap(nullptr, segment.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0),
            MAP_FAILED);
  EXPECT_EQ(errno, EPERM);
  void* readable = ::mmap(nullptr, segment.size(), PROT_READ, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(readable, MAP_FAILED);
  EXPECT_EQ(::mprotect(readable, segment.size(), PROT_READ | PROT_WRITE), -1);
  ::munmap(readable, segment.size());
}

TEST(Seals, RefuseWritingThroughTheDescriptor) {
  const Segment segment = must(Segment::create("written", page_bytes()));
  const UniqueFd shared = must(segment.share());
  const char byte = 1;
  EXPECT_LT(::pwrite(shared.get(), &byte, 1, 0), 0);
  if (const UniqueFd fd = writable_descriptor(segment); fd.valid()) {
    EXPECT_LT(::pwrite(fd.get(), &byte, 1, 0), 0);
    EXPECT_EQ(errno, EPERM);
  }
  EXPECT_EQ(segment.data()[0], std::byte{0});
}

TEST(Seals, RefuseToShrinkOrGrow) {
  const Segment segment = must(Segment::create("sized", 4 * page_bytes()));
  const UniqueFd shared = must(segment.share());
  const auto size = static_cast<off_t>(segment.size());
  for (const off_t other : {off_t{0}, size / 2, size * 2}) {
    EXPECT_LT(::ftruncate(shared.get(), other), 0);
    if (const UniqueFd fd = writable_descriptor(segment); fd.valid()) {
      EXPECT_LT(::ftruncate(fd.get(), other), 0);
      EXPECT_EQ(errno, EPERM);
    }
  }
  struct stat status {};
  ASSERT_EQ(::fstat(shared.get(), &status), 0);
  EXPECT_EQ(status.st_size, size);
}

TEST(Seals, RefuseToPunchAHole) {
  const Segment segment = must(Segment::create("holed", page_bytes()));
  segment.data()[0] = std::byte{1};
  const auto size = static_cast<off_t>(segment.size());
  if (const UniqueFd fd = writable_descriptor(segment); fd.valid()) {
    EXPECT_LT(::fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size), 0);
  }
  EXPECT_EQ(segment.data()[0], std::byte{1});
}

TEST(Seals, AreSealedThemselves) {
  const Segment segment = must(Segment::create("twice", page_bytes()));
  if (const UniqueFd fd = writable_descriptor(segment); fd.valid()) {
    EXPECT_LT(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
    EXPECT_EQ(errno, EPERM);
  }
}

TEST(Segments, GiveOthersNoRightToOpenThem) {
  const Segment segment = must(Segment::create("mode", 1));
  const UniqueFd fd = must(segment.share());
  struct stat status {};
  ASSERT_EQ(::fstat(fd.get(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0400u);
  EXPECT_EQ(::fcntl(fd.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_NE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
}

constexpr const char* kNoAdvice = "madvise() does nothing here, as under qemu-user";

TEST(Segments, AreNotInheritedByAForkedChild) {
  const Segment segment = must(Segment::create("forked", page_bytes()));
  if (!heeds_advice(segment.data(), segment.size())) GTEST_SKIP() << kNoAdvice;
  segment.data()[0] = std::byte{1};
  test::Child child = test::Child::run([&](int) {
    // Asks the kernel rather than touching it: sanitizers make a report of a touched hole.
    return ::msync(segment.data(), segment.size(), MS_ASYNC) != 0 && errno == ENOMEM ? 0 : 1;
  });
  EXPECT_EQ(child.join(), 0);
}

TEST(Segments, CommitNothingUntilAsked) {
  Segment segment = must(Segment::create("sparse", 64 * page_bytes()));
  const UniqueFd fd = must(segment.share());
  const auto blocks = [&] {
    struct stat status {};
    EXPECT_EQ(::fstat(fd.get(), &status), 0);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  };
  EXPECT_EQ(blocks(), 0u);
  EXPECT_TRUE(segment.commit(page_bytes(), 1));
  EXPECT_EQ(blocks(), page_bytes());
  EXPECT_TRUE(segment.commit(page_bytes() - 1, 2));  // two pages, one of them again
  EXPECT_EQ(blocks(), 2 * page_bytes());
  const Segment whole = must(Segment::create("whole", 64 * page_bytes(), {.commit = true}));
  const UniqueFd whole_fd = must(whole.share());
  struct stat status {};
  ASSERT_EQ(::fstat(whole_fd.get(), &status), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(status.st_blocks) * 512, 64 * page_bytes());
}

TEST(Segments, MapEveryPageAtOnceWhenPrefaulted) {
  const Segment segment = must(Segment::create("ready", 16 * page_bytes(), {.prefault = true}));
  if (!heeds_advice(segment.data(), segment.size())) GTEST_SKIP() << kNoAdvice;
  // Of the kernel's pages, also where larger ones are simulated.
  std::vector<unsigned char> resident(segment.size() /
                                      static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  ASSERT_EQ(::mincore(segment.data(), segment.size(), resident.data()), 0);
  for (const unsigned char page : resident) EXPECT_EQ(page & 1, 1);
}

TEST(Segments, TakeTransparentHugePagesAsAdviceOnly) {
  const Segment segment =
      must(Segment::create("huge", 4u << 20, {.huge_pages = HugePages::transparent}));
  segment.data()[0] = std::byte{1};
  EXPECT_EQ(segment.size(), 4u << 20);
}

TEST(Segments, WithoutReservedHugePagesFailByName) {
  constexpr std::uint64_t kBytes = std::uint64_t{1} << (sizeof(void*) == 8 ? 40 : 30);
  const auto segment = Segment::create("reserved", kBytes, {.huge_pages = HugePages::hugetlb});
  if (segment) GTEST_SKIP() << "this machine has reserved huge pages of that size";
  EXPECT_EQ(segment.error().code, Errc::system);
  EXPECT_NE(segment.error().sys_errno, 0);
  EXPECT_NE(segment.error().message.find("'reserved'"), std::string::npos);
  EXPECT_NE(segment.error().message.find("huge pages"), std::string::npos)
      << segment.error().message;
}

TEST(Views, RefuseWhatIsNoMemfd) {
  const UniqueFd file{::open("/proc/self/status", O_RDONLY | O_CLOEXEC)};
  const UniqueFd disk{::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
  for (const int fd : {file.get(), disk.get(), -1}) {
    const auto view = View::open(fd, "a thing");
    ASSERT_FALSE(view);
    EXPECT_EQ(view.error().code, Errc::untrusted);
    EXPECT_NE(view.error().message.find("a thing"), std::string::npos);
  }
}

TEST(Views, RefuseAMemfdThatLacksAnyOfTheSeals) {
  struct Case {
    int seals;
    bool accepted;
  };
  const Case cases[] = {
      {0, false},
      {F_SEAL_SHRINK, false},
      {F_SEAL_GROW | F_SEAL_FUTURE_WRITE, false},
      {F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE, false},
      {F_SEAL_SHRINK | F_SEAL_GROW, false},
      {F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, false},
      {kAllSeals, true},
      {F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, true},
  };
  for (const Case& c : cases) {
    const UniqueFd fd{memfd("seals")};
    ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(page_bytes())), 0);
    if (c.seals != 0) {
      ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, c.seals), 0);
    }
    const auto view = View::open(fd.get(), "a thing");
    EXPECT_EQ(view.has_value(), c.accepted) << "seals " << c.seals;
    if (!view) {
      EXPECT_EQ(view.error().code, Errc::untrusted);
    }
  }
}

TEST(Views, RefuseAnotherSizeThanExpected) {
  const Segment segment = must(Segment::create("sized", 2 * page_bytes()));
  const UniqueFd fd = must(segment.share());
  for (const std::uint64_t wrong : {page_bytes(), 3 * page_bytes(), std::size_t{1}}) {
    const auto view = View::open(fd.get(), "a thing", wrong);
    ASSERT_FALSE(view);
    EXPECT_EQ(view.error().code, Errc::untrusted);
  }
  EXPECT_TRUE(View::open(fd.get(), "a thing", 2 * page_bytes()));
  EXPECT_TRUE(View::open(fd.get(), "a thing", 0));
}

TEST(Views, RefuseAnEmptyMemfd) {
  const UniqueFd fd{memfd("empty")};
  ASSERT_EQ(::fcntl(fd.get(), F_ADD_SEALS, kAllSeals), 0);
  EXPECT_FALSE(View::open(fd.get(), "a thing"));
}

TEST(Views, OutliveTheSegmentAndItsDescriptors) {
  View view;
  EXPECT_FALSE(view.valid());
  {
    const Segment segment = must(Segment::create("short", 1));
    segment.data()[0] = std::byte{9};
    const UniqueFd fd = must(segment.share());
    view = must(View::open(fd.get(), "a thing", 0, true));
  }
  EXPECT_TRUE(view.valid());
  EXPECT_EQ(view.data()[0], std::byte{9});
  const View moved = std::move(view);
  EXPECT_FALSE(view.valid());
  EXPECT_EQ(moved.data()[0], std::byte{9});
}

}  // namespace
}  // namespace sluice::shm
