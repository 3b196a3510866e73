// Photographs of Debian's packages (tools/setup.sh photos), with what is known about them.
#pragma once

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::test {

inline const std::string kPhotos = "/usr/share/visp-images-data/ViSP-images/";
/// The fifth Solvay conference, 1927: two photographs of the same day.
inline const std::string kSolvay = kPhotos + "faces/1280px-Solvay_conference_1927.png";
inline const std::string kSolvayTruth = kPhotos + "faces/ground_truth_detection.txt";
inline const std::string kOtherSolvay =
    kPhotos + "Solvay/Solvay_conference_1927_Version2_2126x1463.png";
/// Grace Hopper, who was not there.
inline const std::string kHopper = "/usr/share/matplotlib/mpl-data/sample_data/grace_hopper.jpg";

/// Not a test that is skipped: without the pictures nothing is tested.
inline cv::Mat photo(const std::string& path, int flags = cv::IMREAD_GRAYSCALE) {
  cv::Mat picture = cv::imread(path, flags);
  if (picture.empty()) {
    std::fprintf(stderr, "%s is not there; run tools/setup.sh photos\n", path.c_str());
    std::abort();
  }
  return picture;
}

/// The boxes of the ground truth: of each, four corners as "y x". The first is Debye's coat.
inline std::vector<cv::Rect> solvay_truth() {
  std::ifstream in(kSolvayTruth);
  std::vector<cv::Rect> boxes;
  std::string name;
  while (in >> name) {
    std::array<cv::Point, 4> corners;
    for (cv::Point& corner : corners) in >> corner.y >> corner.x;
    boxes.emplace_back(corners[0], corners[3]);
  }
  return boxes;
}

/// Where people look out of the other photograph, in its pixels.
struct Seat {
  std::string_view name;
  float x = 0, y = 0;
};
inline constexpr std::array<Seat, 29> kOtherSeats{{
    {"Auguste Piccard", 432, 556},
    {"Émile Henriot", 585, 598},
    {"Paul Ehrenfest", 694, 639},
    {"Édouard Herzen", 870, 615},
    {"Théophile de Donder", 1045, 634},
    {"Erwin Schrödinger", 1211, 598},
    {"Jules-Émile Verschaffelt", 1360, 615},
    {"Wolfgang Pauli", 1513, 598},
    {"Werner Heisenberg", 1674, 590},
    {"Ralph Fowler", 1782, 528},
    {"Léon Brillouin", 1862, 598},
    {"Peter Debye", 208, 742},
    {"Martin Knudsen", 397, 759},
    {"William Lawrence Bragg", 593, 742},
    {"Hans Kramers", 816, 739},
    {"Paul Dirac", 1056, 723},
    {"Arthur Compton", 1242, 718},
    {"Louis de Broglie", 1442, 731},
    {"Max Born", 1656, 737},
    {"Niels Bohr", 1847, 742},
    {"Irving Langmuir", 272, 806},
    {"Max Planck", 487, 811},
    {"Marie Curie", 693, 797},
    {"Hendrik Lorentz", 933, 817},
    {"Albert Einstein", 1184, 789},
    {"Paul Langevin", 1395, 789},
    {"Charles-Eugène Guye", 1543, 794},
    {"C. T. R. Wilson", 1771, 806},
    {"Owen Richardson", 1932, 826},
}};

/// Whose face a box in the other photograph is; empty: nobody's.
inline std::string_view who_sits_at(const cv::Rect2f& box) {
  const cv::Point2f middle = (box.tl() + box.br()) / 2;
  for (const Seat& seat : kOtherSeats) {
    constexpr float kNear = 43;
    if (std::hypot(seat.x - middle.x, seat.y - middle.y) < kNear && box.width > 40 &&
        box.width < 130) {
      return seat.name;
    }
  }
  return {};
}

inline double overlap(const cv::Rect2d& a, const cv::Rect2d& b) {
  const double both = (a & b).area();
  return both / (a.area() + b.area() - both);
}

}  // namespace sluice::test
