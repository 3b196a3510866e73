// Pictures in a folder are what somebody threw in: one without a face, or with two, is told and
// left out. What stands in a file was written on purpose: there a mistake is an error with its
// line.
#include "pipeline/opencv/enrolment.hpp"

#include "pipeline/opencv/face_crop.hpp"
#include "pipeline/opencv/guard.hpp"
#include "transport/quote.hpp"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <opencv2/imgcodecs.hpp>
#include <optional>
#include <string_view>

namespace sluice::opencv {
namespace {

namespace fs = std::filesystem;
// Not by its own name: std::quoted would be found, too.
std::string shown(std::string_view text) { return transport::quoted(text); }

Error fault(std::string text) { return {Errc::invalid_argument, 0, std::move(text)}; }

bool is_picture(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

class Enroller {
 public:
  Enroller(Detector& finder, bool colour) : finder_(finder), colour_(colour) {}

  // Enrols the box, or else the only face. The sentence says why nobody was enrolled.
  Result<void> add(const std::string& name, const fs::path& path, const std::optional<Box>& box) {
    auto picture = open(path);
    if (!picture) return std::move(picture).error();
    Box where;
    if (box) {
      where = *box;
    } else {
      auto found = finder_.detect(*picture);
      if (!found) return std::move(found).error();
      if (found->size() != 1) {
        return fault(shown(path.string()) + " has " +
                     (found->empty() ? "no face" : std::to_string(found->size()) + " faces") +
                     " in it that could be found; it must be one");
      }
      where = found->front().box;
    }
    auto crop = guarded(shown(path.string()), [&] { return crop_face(*picture, where); });
    if (!crop) return std::move(crop).error();
    if (!*crop) return fault("the box does not lie in " + shown(path.string()));
    result_.gallery.faces.push_back({name, std::move(**crop)});
    return {};
  }
  void skip(std::string why) { result_.skipped.push_back(std::move(why)); }
  Enrolment take() { return std::move(result_); }
  [[nodiscard]] std::size_t count() const { return result_.gallery.faces.size(); }

 private:
  // The last picture is kept: in a file many people are often in the same one.
  Result<cv::Mat> open(const fs::path& path) {
    if (path == path_ && !picture_.empty()) return picture_;
    auto read = guarded(shown(path.string()), [&] {
      return cv::imread(path.string(), colour_ ? cv::IMREAD_COLOR : cv::IMREAD_GRAYSCALE);
    });
    if (!read) return std::move(read).error();
    if (read->empty()) return fault(shown(path.string()) + " is not a picture that can be read");
    path_ = path;
    picture_ = std::move(*read);
    return picture_;
  }

  Detector& finder_;
  bool colour_;
  Enrolment result_;
  fs::path path_;
  cv::Mat picture_;
};

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

void enrol_folder(const fs::path& folder, Enroller& enroller) {
  const auto add = [&](const std::string& name, const fs::path& picture) {
    const std::string wrong = fault_of_name(name);
    if (!wrong.empty()) {
      enroller.skip(shown(picture.string()) + ": the name " + wrong);
    } else if (auto added = enroller.add(name, picture, {}); !added) {
      enroller.skip(added.error().message);
    }
  };
  for (const fs::path& entry : sorted_entries(folder)) {
    std::error_code ignored;
    if (fs::is_directory(entry, ignored)) {
      for (const fs::path& picture : sorted_entries(entry)) {
        if (is_picture(picture)) add(entry.filename().string(), picture);
      }
    } else if (is_picture(entry)) {
      add(entry.stem().string(), entry);
    }
  }
}

class PeopleFile {
 public:
  PeopleFile(fs::path path, Enroller& enroller) : path_(std::move(path)), enroller_(enroller) {}

  Result<void> read() {
    toml::table root;
    try {
      root = toml::parse_file(path_.string());
    } catch (const toml::parse_error& problem) {
      return at(problem.source(), std::string(problem.description()));
    }
    for (const auto& [key, node] : root) {
      if (key.str() != "person") {
        return at(key.source(),
                  "there is no key " + shown(key.str()) + " here; write a [[person]] for each");
      }
      const toml::array* people = node.as_array();
      if (people == nullptr) return at(node.source(), "write [[person]] with two brackets");
      for (const toml::node& each : *people) {
        const toml::table* person = each.as_table();
        if (person == nullptr) return at(each.source(), "a person is a table: [[person]]");
        if (auto done = read_person(*person); !done) return done;
      }
    }
    return {};
  }

 private:
  [[nodiscard]] Error at(const toml::source_region& where, const std::string& text) const {
    return fault(path_.string() + ":" + std::to_string(where.begin.line) + ": " + text);
  }

  Result<void> read_person(const toml::table& person) {
    for (const auto& [key, node] : person) {
      if (key.str() != "name" && key.str() != "picture" && key.str() != "box") {
        return at(key.source(),
                  "a person has no key " + shown(key.str()) + "; it has name, picture and box");
      }
    }
    const auto name = person["name"].value<std::string>();
    const auto picture = person["picture"].value<std::string>();
    if (!name) return at(person.source(), "a person needs name = \"…\"");
    if (!picture) return at(person.source(), "a person needs picture = \"…\"");
    if (const std::string wrong = fault_of_name(*name); !wrong.empty()) {
      return at(person.get("name")->source(), "the name " + wrong);
    }
    std::optional<Box> box;
    if (const toml::node* node = person.get("box")) {
      box = box_of(*node);
      if (!box) {
        return at(node->source(), "a box is [x, y, width, height] in pixels of the picture");
      }
    }
    if (auto added = enroller_.add(*name, path_.parent_path() / *picture, box); !added) {
      return at(person.get(box ? "box" : "picture")->source(), added.error().message);
    }
    return {};
  }

  static std::optional<Box> box_of(const toml::node& node) {
    const toml::array* array = node.as_array();
    if (array == nullptr || array->size() != 4) return std::nullopt;
    std::array<float, 4> v{};
    for (std::size_t i = 0; i < v.size(); ++i) {
      const auto number = (*array)[i].value<double>();
      if (!number || !std::isfinite(*number) || std::abs(*number) > 1e6) return std::nullopt;
      v[i] = static_cast<float>(*number);
    }
    return Box{v[0], v[1], v[2], v[3]};
  }

  fs::path path_;
  Enroller& enroller_;
};

}  // namespace

Result<Enrolment> enrol(const std::string& people, Detector& finder, bool colour) {
  Enroller enroller(finder, colour);
  std::error_code ignored;
  if (fs::is_directory(people, ignored)) {
    enrol_folder(people, enroller);
  } else if (fs::path(people).extension() == ".toml" && fs::is_regular_file(people, ignored)) {
    if (auto read = PeopleFile(people, enroller).read(); !read) return std::move(read).error();
  } else {
    return fault(shown(people) +
                 " is neither a folder of named pictures nor a .toml file; "
                 "correct --people");
  }
  const bool nobody = enroller.count() == 0;
  Enrolment result = enroller.take();
  if (nobody) {
    return fault("nobody could be enrolled from " + shown(people) + ": " +
                 (result.skipped.empty() ? "there are no pictures (name.jpg, name/any.png) in it"
                                         : result.skipped.front()));
  }
  return result;
}

}  // namespace sluice::opencv
