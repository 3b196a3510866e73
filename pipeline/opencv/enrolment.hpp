// From pictures with names to a gallery.
#pragma once

#include "pipeline/opencv/detector.hpp"
#include "pipeline/opencv/gallery.hpp"
#include "sluice/result.hpp"

#include <string>
#include <vector>

namespace sluice::opencv {

struct Enrolment {
  Gallery gallery;
  std::vector<std::string> skipped;  ///< A sentence for each picture that nobody was enrolled from.
};

/// `people` is a folder (people/<name>.jpg, people/<name>/<any>.jpg; jpg, jpeg and png), in whose
/// pictures `finder` must find exactly one face, or a TOML file:
///
///     [[person]]
///     name = "Marie Curie"
///     picture = "solvay.png"       # relative to the file
///     box = [361, 486, 48, 48]     # x, y, width, height; without it the one face that is found
///
/// The error names file, line and key, or says that nobody could be enrolled. `colour`: crops are
/// BGR instead of grey.
Result<Enrolment> enrol(const std::string& people, Detector& finder, bool colour = false);

}  // namespace sluice::opencv
