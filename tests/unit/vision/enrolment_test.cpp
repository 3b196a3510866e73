#include "pipeline/opencv/enrolment.hpp"

#include "pipeline/opencv/face_crop.hpp"
#include "tests/support/must.hpp"
#include "tests/support/photos.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

namespace sluice::opencv {
namespace {

namespace fs = std::filesystem;
using test::must;

class EnrolmentTest : public testing::Test {
 protected:
  EnrolmentTest() {
    DetectorOptions options;
    options.model = DetectorModel::haar;
    options.scale = 1;
    options.min_neighbors = 6;
    finder_ = must(Detector::create(options));
    cv::resize(test::photo(test::kHopper), hopper_, {}, 0.5, 0.5, cv::INTER_AREA);
  }
  ~EnrolmentTest() override { fs::remove_all(folder_); }

  void picture(const std::string& name, const cv::Mat& pixels) const {
    fs::create_directories((folder_ / name).parent_path());
    cv::imwrite((folder_ / name).string(), pixels);
  }
  void text(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name) << content;
  }
  Result<Enrolment> from(const std::string& name) {
    return enrol((folder_ / name).string(), *finder_);
  }
  std::string refusal(const std::string& toml) {
    text("people.toml", toml);
    const auto enrolled = from("people.toml");
    return enrolled ? "was accepted" : enrolled.error().message;
  }
  static fs::path new_folder() {
    char name[] = "/tmp/sluice-vision-XXXXXX";
    return ::mkdtemp(name);
  }

  fs::path folder_ = new_folder();
  std::unique_ptr<Detector> finder_;
  cv::Mat hopper_;
};

TEST_F(EnrolmentTest, FolderOfNamedPicturesAndOfFolders) {
  picture("people/Grace Hopper.jpg", hopper_);
  picture("people/Émilie/one.png", hopper_);
  picture("people/Émilie/two.JPG", hopper_);
  picture("people/Émilie/notes/deep.png", hopper_);
  text("people/readme.txt", "no picture");
  const Enrolment enrolled = must(from("people"));
  EXPECT_EQ(enrolled.gallery.names(), (std::vector<std::string>{"Grace Hopper", "Émilie"}));
  ASSERT_EQ(enrolled.gallery.faces.size(), 3u);
  EXPECT_TRUE(enrolled.skipped.empty()) << enrolled.skipped.front();
  EXPECT_EQ(enrolled.gallery.faces[0].crop.size(), cv::Size(kCropSide, kCropSide));
}

TEST_F(EnrolmentTest, PicturesWithoutOneFaceAreSkippedByName) {
  picture("people/Grace Hopper.png", hopper_);
  picture("people/Nobody.png", cv::Mat(100, 100, CV_8UC1, cv::Scalar(127)));
  cv::Mat twice;
  cv::hconcat(hopper_, hopper_, twice);
  picture("people/Twins.png", twice);
  picture("people/unknown.png", hopper_);
  text("people/Broken.jpg", "no picture at all");
  const Enrolment enrolled = must(from("people"));
  EXPECT_EQ(enrolled.gallery.names(), std::vector<std::string>{"Grace Hopper"});
  ASSERT_EQ(enrolled.skipped.size(), 4u);
  EXPECT_NE(enrolled.skipped[0].find("Broken.jpg"), std::string::npos);
  EXPECT_NE(enrolled.skipped[1].find("Nobody.png' has no face"), std::string::npos)
      << enrolled.skipped[1];
  EXPECT_NE(enrolled.skipped[2].find("Twins.png' has 2 faces"), std::string::npos)
      << enrolled.skipped[2];
  EXPECT_NE(enrolled.skipped[3].find("what strangers are called"), std::string::npos);
}

TEST_F(EnrolmentTest, NobodyIsAnErrorThatSaysWhy) {
  fs::create_directory(folder_ / "empty");
  EXPECT_NE(from("empty").error().message.find("no pictures"), std::string::npos);
  picture("people/Nobody.png", cv::Mat(100, 100, CV_8UC1, cv::Scalar(127)));
  EXPECT_NE(from("people").error().message.find("Nobody.png"), std::string::npos);
  EXPECT_NE(from("none").error().message.find("--people"), std::string::npos);
  text("people.csv", "a,b");
  EXPECT_NE(from("people.csv").error().message.find(".toml"), std::string::npos);
}

TEST_F(EnrolmentTest, FileWithBoxesAndPathsRelativeToIt) {
  picture("pictures/group.png", hopper_);
  text("people.toml", R"(
[[person]]
name = "Grace Hopper"
picture = "pictures/group.png"
[[person]]
name = "Her ribbons"
picture = "pictures/group.png"
box = [150, 200, 40.5, 40]
)");
  const Enrolment enrolled = must(from("people.toml"));
  EXPECT_EQ(enrolled.gallery.names(), (std::vector<std::string>{"Grace Hopper", "Her ribbons"}));
  const auto crop = crop_face(hopper_, {150, 200, 40.5F, 40});
  EXPECT_EQ(cv::norm(enrolled.gallery.faces[1].crop, *crop), 0);
}

TEST_F(EnrolmentTest, MistakesInTheFileAreToldWithTheirLine) {
  picture("h.png", hopper_);
  picture("n.png", cv::Mat(100, 100, CV_8UC1, cv::Scalar(127)));
  const std::string head = "[[person]]\nname = \"A\"\npicture = \"h.png\"\n";
  const auto expect = [&](const std::string& toml, const std::string& line, const char* word) {
    const std::string told = refusal(toml);
    EXPECT_NE(told.find("people.toml:" + line + ":"), std::string::npos) << told;
    EXPECT_NE(told.find(word), std::string::npos) << told;
  };
  expect("[[person]\n", "1", "people.toml");
  expect("people = 3\n", "1", "[[person]]");
  expect("person = 3\n", "1", "two brackets");
  expect("[[person]]\nname = \"A\"\n", "1", "picture = ");
  expect("[[person]]\npicture = \"h.png\"\n", "1", "name = ");
  expect("[[person]]\nname = 7\npicture = \"h.png\"\n", "1", "name = ");
  expect("[[person]]\nname = \"unknown\"\npicture = \"h.png\"\n", "2", "strangers");
  expect(head + "age = 3\n", "4", "'age'");
  expect(head + "box = [1, 2, 3]\n", "4", "[x, y, width, height]");
  expect(head + "box = [1, 2, 3, \"4\"]\n", "4", "[x, y, width, height]");
  expect(head + "box = [1, 2, inf, 4]\n", "4", "[x, y, width, height]");
  expect(head + "box = [1000, 1000, 50, 50]\n", "4", "does not lie in");
  expect("[[person]]\nname = \"A\"\npicture = \"none.png\"\n", "3", "none.png");
  expect("[[person]]\nname = \"A\"\npicture = \"n.png\"\n", "3", "no face");
  expect("[[person]]\nname = \"A\"\npicture = \"people.toml\"\n", "3", "not a picture");
  EXPECT_NE(refusal("").find("nobody could be enrolled"), std::string::npos);
}

}  // namespace
}  // namespace sluice::opencv
