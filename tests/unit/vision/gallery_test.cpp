#include "pipeline/opencv/gallery.hpp"

#include "pipeline/opencv/face_crop.hpp"
#include "pipeline/opencv/file.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace sluice::opencv {
namespace {

class GalleryTest : public testing::Test {
 protected:
  ~GalleryTest() override { std::filesystem::remove_all(folder_); }
  static Gallery two_people(int type) {
    Gallery gallery;
    for (const char* name : {"Erwin Schrödinger", "Marie Curie", "Marie Curie"}) {
      cv::Mat crop(kCropSide, kCropSide, type);
      cv::randu(crop, 0, 256);
      gallery.faces.push_back({name, crop});
    }
    return gallery;
  }
  std::string refusal(const std::vector<std::uint8_t>& bytes) {
    if (!write_file(file_, bytes)) return "could not be written";
    const auto loaded = Gallery::load(file_);
    return loaded ? "was accepted" : loaded.error().message;
  }
  static std::string new_folder() {
    char name[] = "/tmp/sluice-vision-XXXXXX";
    return ::mkdtemp(name);
  }
  std::string folder_ = new_folder();
  std::string file_ = folder_ + "/faces";
};

TEST_F(GalleryTest, ComesBackAsItWasSaved) {
  for (const int type : {CV_8UC1, CV_8UC3}) {
    const Gallery gallery = two_people(type);
    ASSERT_TRUE(gallery.save(file_));
    const auto loaded = Gallery::load(file_);
    ASSERT_TRUE(loaded) << loaded.error().message;
    ASSERT_EQ(loaded->faces.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(loaded->faces[i].name, gallery.faces[i].name);
      EXPECT_EQ(cv::norm(loaded->faces[i].crop, gallery.faces[i].crop), 0);
    }
    EXPECT_EQ(loaded->names(), (std::vector<std::string>{"Erwin Schrödinger", "Marie Curie"}));
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1)
      << "something was left behind";
}

TEST_F(GalleryTest, CutOrChangedFilesAreRefusedWithASentence) {
  ASSERT_TRUE(two_people(CV_8UC1).save(file_));
  const auto whole = *read_file(file_, 1u << 20);
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{20},
                                 whole.size() / 2, whole.size() - 1}) {
    const std::string text = refusal({whole.begin(), whole.begin() + static_cast<long>(size)});
    EXPECT_NE(text.find("enrol again with --people"), std::string::npos) << size << ": " << text;
  }
  for (std::size_t at = 0; at < 60; ++at) {
    auto changed = whole;
    changed[at] ^= 0x10;
    EXPECT_NE(refusal(changed), "was accepted") << at;
  }
  auto longer = whole;
  longer.push_back(0);
  EXPECT_NE(refusal(longer), "was accepted");
  EXPECT_NE(Gallery::load(folder_ + "/none").error().message.find("none"), std::string::npos);
  EXPECT_FALSE(Gallery::load(folder_));
}

// A sum that is right does not make the rest right.
TEST_F(GalleryTest, LiesWithACorrectSumAreRefused) {
  ASSERT_TRUE(two_people(CV_8UC1).save(file_));
  const auto whole = *read_file(file_, 1u << 20);
  const auto forged = [&](std::size_t at, std::uint8_t value) {
    auto bytes = whole;
    bytes[at] = value;
    std::uint64_t sum = 0xcbf29ce484222325;
    for (std::size_t i = 0; i + 8 < bytes.size(); ++i) sum = (sum ^ bytes[i]) * 0x100000001b3;
    for (std::size_t i = 0; i < 8; ++i) {
      bytes[bytes.size() - 8 + i] = static_cast<std::uint8_t>(sum >> (8 * i));
    }
    return refusal(bytes);
  };
  EXPECT_EQ(forged(8, 1), "was accepted") << "the version as it is: the forger knows the sum";
  EXPECT_NE(forged(8, 2).find("version 2"), std::string::npos);
  EXPECT_NE(forged(12, 4).find("cut off"), std::string::npos);
  EXPECT_NE(forged(12, 2).find("more in it"), std::string::npos);
  EXPECT_NE(forged(15, 0x7f).find("cut off"), std::string::npos) << "two milliards of faces";
  EXPECT_NE(forged(16, 12).find("another size"), std::string::npos);
  EXPECT_NE(forged(20, 2).find("another size"), std::string::npos);
  EXPECT_NE(forged(27, 0xff).find("cut off"), std::string::npos) << "a name without an end";
  EXPECT_NE(forged(28, 0x1b).find("name"), std::string::npos) << "a control character";
}

TEST(NameOfAPerson, IsShortUtf8WithoutControlCharacters) {
  for (const char* good : {"Max Planck", "Erwin Schrödinger", "湯川 秀樹", "x"}) {
    EXPECT_EQ(fault_of_name(good), "") << good;
  }
  for (const std::string& bad :
       {std::string{}, std::string("a\nb"), std::string("\x1b[31m"), std::string("unknown"),
        std::string(256, 'x'), std::string("\xff"), std::string("a\xc3"), std::string("\x80"),
        std::string("\xc0\x80"), std::string("\xf8\x80\x80\x80")}) {
    EXPECT_NE(fault_of_name(bad), "") << bad;
  }
}

}  // namespace
}  // namespace sluice::opencv
