#include "tools/sluice/state_file.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace sluice::tools {
namespace {

namespace fs = std::filesystem;

class StateFileTest : public testing::Test {
 protected:
  StateFileTest() {
    char name[] = "/tmp/sluice-state-XXXXXX";
    folder_ = ::mkdtemp(name);
    path_ = folder_ + "/bucket.state";
  }
  ~StateFileTest() override { fs::remove_all(folder_); }

  StateFile open(const std::string& bucket = "b") const {
    auto file = StateFile::open(path_, bucket);
    if (!file) throw std::runtime_error(file.error().message);
    return std::move(*file);
  }
  std::string read() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& text) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << text;
  }

  std::string folder_;
  std::string path_;
};

TEST_F(StateFileTest, KeepsValuesOfAnyKind) {
  const std::string bytes("\0\xff\n", 3);
  {
    StateFile file = open();
    EXPECT_TRUE(file.contents().values.empty());
    ASSERT_TRUE(file.store("a/b", "text", 5, false));
    ASSERT_TRUE(file.store("binary", bytes, 6, false));
    ASSERT_TRUE(file.store("gone", "x", 7, false));
    ASSERT_TRUE(file.store("gone", "", 8, true));
  }
  const StateFile again = open();
  EXPECT_TRUE(again.set_aside().empty());
  EXPECT_EQ(again.contents().revision, 8u);
  ASSERT_EQ(again.contents().values.size(), 2u);
  EXPECT_EQ(again.contents().values.at("a/b"), (StateContents::Value{5, "text"}));
  EXPECT_EQ(again.contents().values.at("binary"), (StateContents::Value{6, bytes}));
}

TEST_F(StateFileTest, IsRefusedTwice) {
  const StateFile first = open();
  const auto second = StateFile::open(path_, "b");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::refused);
}

TEST_F(StateFileTest, OfAnotherBucketIsRefusedAndLeftAlone) {
  { ASSERT_TRUE(open("b").store("k", "v", 1, false)); }
  const std::string before = read();
  const auto other = StateFile::open(path_, "c");
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("'b'"), std::string::npos);
  EXPECT_EQ(read(), before);
}

TEST_F(StateFileTest, ThatIsDamagedAnywhereIsSetAside) {
  { ASSERT_TRUE(open().store("key", "value", 9, false)); }
  const std::string whole = read();
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_FALSE(parse_state(damaged)) << "byte " << i;
    EXPECT_FALSE(parse_state(std::string_view{whole}.substr(0, i))) << "cut at " << i;
  }
  write(whole.substr(0, whole.size() / 2));
  const StateFile file = open();
  EXPECT_TRUE(file.contents().values.empty());
  ASSERT_FALSE(file.set_aside().empty());
  EXPECT_TRUE(fs::exists(file.set_aside()));
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(StateFileTest, AnEmptyFileIsSetAside) {
  write("");
  EXPECT_FALSE(open().set_aside().empty());
}

TEST_F(StateFileTest, WhatCannotBeWrittenHasNotChanged) {
  StateFile file = open();
  ASSERT_TRUE(file.store("k", "old", 1, false));
  const std::string before = read();
  fs::create_directory(path_ + ".new");  // in the way of the new file
  const auto stored = file.store("k", "new", 2, false);
  ASSERT_FALSE(stored);
  EXPECT_EQ(stored.error().code, Errc::system);
  EXPECT_EQ(file.contents().values.at("k").bytes, "old");
  EXPECT_EQ(read(), before);
  fs::remove(path_ + ".new");
  EXPECT_TRUE(file.store("k", "new", 2, false));
}

TEST_F(StateFileTest, ALeftOverOfADyingWriterIsIgnored) {
  { ASSERT_TRUE(open().store("k", "v", 1, false)); }
  std::ofstream(path_ + ".new") << "half of";
  EXPECT_EQ(open().contents().values.at("k").bytes, "v");
}

TEST_F(StateFileTest, AFolderIsNoFile) {
  fs::create_directory(path_);
  EXPECT_FALSE(StateFile::open(path_, "b"));
}

}  // namespace
}  // namespace sluice::tools
