#include "sluice/result.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

namespace sluice {
namespace {

TEST(Outcomes, EveryOneHasANameOfItsOwn) {
  std::set<std::string> names;
  const auto last = static_cast<int>(Outcome::mismatch);
  for (int i = 0; i <= last; ++i) names.insert(to_string(static_cast<Outcome>(i)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(last) + 1);
  EXPECT_NE(to_string(static_cast<Outcome>(200)), nullptr);
}

TEST(Results, HoldAValueOrAnError) {
  Result<std::unique_ptr<int>> good = std::make_unique<int>(7);
  ASSERT_TRUE(good);
  EXPECT_EQ(**good, 7);
  EXPECT_EQ(*std::move(good).value(), 7);
  const Result<int> bad = Error{Errc::refused, 0, "no"};
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error().message, "no");
}

TEST(Results, WithoutAValueSayOnlyWhetherItWorked) {
  const Result<void> good;
  EXPECT_TRUE(good);
  const Result<void> bad = Error{Errc::system, 5, "input/output"};
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().sys_errno, 5);
}

}  // namespace
}  // namespace sluice
