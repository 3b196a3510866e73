#include "shm/fd.hpp"

#include "tests/support/process_link.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace sluice::shm {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, ClosesItsDescriptorAtTheEnd) {
  int raw = -1;
  {
    const UniqueFd fd{::eventfd(0, EFD_CLOEXEC)};
    raw = fd.get();
    EXPECT_TRUE(fd.valid());
    EXPECT_TRUE(is_open(raw));
  }
  EXPECT_FALSE(is_open(raw));
}

TEST(UniqueFd, IsEmptyAfterItWasMoved) {
  UniqueFd from{::eventfd(0, EFD_CLOEXEC)};
  const int raw = from.get();
  const UniqueFd to{std::move(from)};
  EXPECT_EQ(to.get(), raw);
  EXPECT_FALSE(from.valid());
}

TEST(UniqueFd, ClosesWhatItHadWhenItIsAssigned) {
  UniqueFd one{::eventfd(0, EFD_CLOEXEC)};
  UniqueFd two{::eventfd(0, EFD_CLOEXEC)};
  const int old = one.get();
  const int kept = two.get();
  one = std::move(two);
  EXPECT_FALSE(is_open(old));
  EXPECT_EQ(one.get(), kept);
  one.reset();
  EXPECT_FALSE(is_open(kept));
}

TEST(UniqueFd, LetsGoOfAReleasedDescriptor) {
  int raw = -1;
  {
    UniqueFd fd{::eventfd(0, EFD_CLOEXEC)};
    raw = fd.release();
    EXPECT_FALSE(fd.valid());
  }
  EXPECT_TRUE(is_open(raw));
  ::close(raw);
}

TEST(HasDied, IsFalseWithoutAPidfd) { EXPECT_FALSE(has_died(UniqueFd{})); }

TEST(HasDied, SeesTheEndOfAProcess) {
  test::Child child = test::Child::run([](int socket) {
    (void)test::receive_message(socket);
    return 0;
  });
  const UniqueFd process = test::pidfd_open(child.pid());
  if (!process.valid()) GTEST_SKIP() << "this kernel has no pidfd_open";
  EXPECT_FALSE(has_died(process));
  child.kill();
  EXPECT_EQ(child.join(), 128 + SIGKILL);
  EXPECT_TRUE(has_died(process));
}

}  // namespace
}  // namespace sluice::shm
