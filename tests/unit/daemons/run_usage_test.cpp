#include "daemons/run/usage.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace sluice::run {
namespace {

TEST(Usage, ProcessorTimeStandsBehindANameThatMayHaveAnythingInIt) {
  const std::string behind = " S 1 2 3 4 -1 6 7 8 9 10 100 20 3 4 20 0 1 0";
  EXPECT_EQ(parse_stat("12 (sluiced)" + behind), 127u);
  EXPECT_EQ(parse_stat("12 (a) R 5 (b)) )" + behind), 127u);
}

TEST(Usage, AStatThatIsCutOffIsNone) {
  EXPECT_FALSE(parse_stat(""));
  EXPECT_FALSE(parse_stat("12 (sluiced"));
  EXPECT_FALSE(parse_stat("12 (sluiced) S 1 2 3 4 -1 6 7 8 9 10 100 20 3"));
  EXPECT_FALSE(parse_stat("12 (sluiced) S 1 2 3 4 -1 6 7 8 9 10 100 20 x 4"));
}

TEST(Usage, MemoryIsReadByNameInKibibytes) {
  const std::string text =
      "55d0-7ffe ---p 00000000 00:00 0    [rollup]\n"
      "Rss:                2048 kB\n"
      "Pss:                 900 kB\n"
      "Pss_Dirty:           100 kB\n"
      "Private_Clean:       300 kB\n"
      "Private_Dirty:       400 kB\n";
  const auto memory = parse_smaps_rollup(text);
  ASSERT_TRUE(memory);
  EXPECT_EQ(memory->pss_bytes, 900u * 1'024);
  EXPECT_EQ(memory->private_bytes, 700u * 1'024);
  EXPECT_FALSE(parse_smaps_rollup(""));
  EXPECT_FALSE(parse_smaps_rollup("Pss: 900 kB\nPrivate_Clean: 300 kB\n"));
  EXPECT_FALSE(parse_smaps_rollup("Pss: 900 MB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 1 kB\n"));
}

TEST(Usage, OfThisProcessThereIsSomeAndOfOneThatIsGoneThereIsNone) {
  EXPECT_TRUE(processor_ns_of(::getpid()));
  const auto memory = memory_of(::getpid());
  ASSERT_TRUE(memory);
  EXPECT_GT(memory->private_bytes, 0u);
  EXPECT_GE(memory->pss_bytes + 1'024, memory->private_bytes) << "rounded to kibibytes";

  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::_exit(0);
  // Ended, but not waited for: the file is there, and reading it fails.
  siginfo_t ended{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(processor_ns_of(child));
  EXPECT_FALSE(memory_of(child));
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(processor_ns_of(child));
  EXPECT_FALSE(memory_of(child));
}

}  // namespace
}  // namespace sluice::run
