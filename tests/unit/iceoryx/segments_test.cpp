#include "daemons/iceoryx/segments.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

namespace sluice::iceoryx {
namespace {

constexpr std::size_t kBytes = 10'000;  // no whole number of pages

class Segments : public testing::Test {
 protected:
  Segments() : path_("/dev/shm/sluice-segments-test-" + std::to_string(::getpid())) {
    fd_.reset(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    EXPECT_EQ(::ftruncate(fd_.get(), kBytes), 0);
    void* at = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    EXPECT_NE(at, MAP_FAILED);
    begin_ = static_cast<std::byte*>(at);
  }
  ~Segments() override {
    ::munmap(begin_, kBytes);
    ::unlink(path_.c_str());
  }

  std::string path_;
  shm::UniqueFd fd_;
  std::byte* begin_ = nullptr;
};

TEST_F(Segments, AnAddressLeadsToItsFile) {
  const auto found = find_mapped(begin_ + 9'999);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->path, path_);
  EXPECT_EQ(found->begin, reinterpret_cast<std::uintptr_t>(begin_));
  struct stat status {};
  ASSERT_EQ(::fstat(fd_.get(), &status), 0);
  EXPECT_EQ(found->inode, status.st_ino);
  EXPECT_EQ(found->device, status.st_dev);
  const auto opened = open_mapped(*found);
  ASSERT_TRUE(opened) << opened.error().message;
  begin_[77] = std::byte{42};
  std::byte read{};
  EXPECT_EQ(::pread(opened->get(), &read, 1, 77), 1);
  EXPECT_EQ(read, std::byte{42});
  EXPECT_LT(::write(opened->get(), &read, 1), 0) << "it is open for reading only";
}

TEST_F(Segments, AMappingOfSeveralProtectionsIsOne) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  if (kBytes <= page) GTEST_SKIP() << "one page holds all";
  ASSERT_EQ(::mprotect(begin_, page, PROT_READ), 0);
  const auto found = find_mapped(begin_ + page + 1);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->begin, reinterpret_cast<std::uintptr_t>(begin_));
}

TEST_F(Segments, OtherAddressesLieInNone) {
  int local = 0;
  EXPECT_FALSE(find_mapped(&local));
  EXPECT_FALSE(find_mapped(nullptr));
}

TEST_F(Segments, AFileThatTookThePathsPlaceIsNotTaken) {
  const auto found = find_mapped(begin_);
  ASSERT_TRUE(found);
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  auto opened = open_mapped(*found);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::system);
  const shm::UniqueFd other{::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  ASSERT_EQ(::ftruncate(other.get(), kBytes), 0);
  opened = open_mapped(*found);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::untrusted);
  // Still found by its address, under the name that it had.
  const auto again = find_mapped(begin_);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->path, path_);
}

TEST_F(Segments, AFileThatWasCutIsNotTaken) {
  const auto found = find_mapped(begin_);
  ASSERT_TRUE(found);
  ASSERT_EQ(::ftruncate(fd_.get(), 0), 0);
  EXPECT_FALSE(open_mapped(*found));
}

TEST(SegmentsText, LinesThatAreNoneAreSkipped) {
  constexpr std::string_view kMaps =
      "garbage\n"
      "7f0000000000-7f0000001000 rw-s 00000000 00:15 12 /dev/shm/with space\n"
      "7f0000001000-7f0000002000 r--s 00001000 00:15 12 /dev/shm/with space\n"
      "7f0000003000-7f0000004000 rw-s 00005000 00:15 13 /dev/shm/middle\n"
      "7f0000005000-7f0000006000 rw-p 00000000 00:00 0 \n"
      "7f0000007000-7f0000008000 rw-s 00000000 00:15 14 /dev/shm/gone (deleted)";
  const auto files = mapped_files(kMaps, "/dev/shm/");
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].path, "/dev/shm/with space");
  EXPECT_EQ(files[0].end - files[0].begin, 0x2000u);
  EXPECT_EQ(files[1].path, "/dev/shm/gone");
  EXPECT_EQ(files[1].inode, 14u);
}

}  // namespace
}  // namespace sluice::iceoryx
