// SIGKILL at every named point, and anywhere: the others do not notice.
//
// Three generations: this program (GoogleTest) starts a survivor for each case and gives it a
// deadline; the survivor starts the victim. See kill_roles.hpp.
#include "tests/process/kill_points.hpp"
#include "tests/process/kill_roles.hpp"
#include "tests/support/process_link.hpp"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

constexpr std::uint64_t kCaseNs = 20'000'000'000;

int run(const Plan& plan) {
  return Child::run([&](int) {
           ::execl("/proc/self/exe", "kill_test", "--survivor", plan.point.c_str(),
                   std::to_string(plan.visit).c_str(),
                   std::to_string(static_cast<int>(plan.harm)).c_str(),
                   std::to_string(plan.seed).c_str(), nullptr);
           return 126;
         })
      .join(kCaseNs);
}

std::string verdict(const Plan& plan, int code) {
  std::ostringstream out;
  out << "--survivor '" << plan.point << "' " << plan.visit << " " << static_cast<int>(plan.harm)
      << " " << plan.seed << (code == 124 ? " hangs" : " ended with " + std::to_string(code));
  return out.str();
}

class AtPoint : public testing::TestWithParam<std::string> {};

TEST_P(AtPoint, NobodyElseNotices) {
  int killed = 0;
  unsigned seed = 1;
  const auto harm_at = [&](long visit) {
    const Plan plan{GetParam(), visit, Plan::Harm::none, seed++};
    const int code = run(plan);
    ASSERT_TRUE(code == kProven || code == kNotReached) << verdict(plan, code);
    killed += code == kProven;
  };
  for (const long visit : {1L, 2L, 7L, 30L}) {
    ASSERT_NO_FATAL_FAILURE(harm_at(visit));
  }
  while (killed == 0 && seed <= 40) {  // on a busy machine the victim does little
    ASSERT_NO_FATAL_FAILURE(harm_at(1));
  }
  EXPECT_GE(killed, 1) << GetParam() << " was never reached: the test does not test it";
  RecordProperty("killed", killed);
}

std::string name_of(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) c = c == '.' ? '_' : c;
  return name;
}
INSTANTIATE_TEST_SUITE_P(Kill, AtPoint, testing::ValuesIn(kill_points()), name_of);

TEST(Kill, TheSourcesHaveKillPoints) { EXPECT_GE(kill_points().size(), 20u); }

TEST(Kill, AnOrderlyEndIsProvenTheSameWay) {
  const Plan plan;
  EXPECT_EQ(run(plan), kProven) << verdict(plan, run(plan));
}

void random_cycles(Plan::Harm harm, unsigned first, unsigned count) {
  for (unsigned seed = first; seed < first + count; ++seed) {
    const Plan plan{"", 1, harm, seed};
    const int code = run(plan);
    ASSERT_EQ(code, kProven) << verdict(plan, code);
  }
}

TEST(Kill, AnywhereNobodyElseNotices) { random_cycles(Plan::Harm::kill, 1, 10); }
TEST(Stop, WhoIsStoppedAndGoesOnHarmsNobody) { random_cycles(Plan::Harm::stop, 1, 4); }

// The label long: thousands of them.
TEST(Kill, DISABLED_AnywhereThousandsOfTimes) { random_cycles(Plan::Harm::kill, 1000, 3000); }
TEST(Stop, DISABLED_HundredsOfTimes) { random_cycles(Plan::Harm::stop, 1000, 300); }
TEST(Kill, DISABLED_AtEveryPointOnManyVisits) {
  unsigned seed = 100'000;
  for (const std::string& point : kill_points()) {
    for (long visit = 1; visit < 200; visit += 1 + visit / 4) {
      const Plan plan{point, visit, Plan::Harm::none, seed++};
      const int code = run(plan);
      ASSERT_TRUE(code == kProven || code == kNotReached) << verdict(plan, code);
    }
  }
}

}  // namespace
}  // namespace sluice::test

int main(int argc, char** argv) {
  using namespace sluice::test;
  const std::vector<std::string> arguments(argv, argv + argc);
  if (argc == 3 && arguments[1] == "--victim") {
    return be_victim(static_cast<unsigned>(std::stoul(arguments[2])));
  }
  if (argc == 6 && arguments[1] == "--survivor") {
    return survive({arguments[2], std::stol(arguments[3]),
                    static_cast<Plan::Harm>(std::stoi(arguments[4])),
                    static_cast<unsigned>(std::stoul(arguments[5]))});
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
