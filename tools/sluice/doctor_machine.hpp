// What `sluice doctor` looks at around Sluice: memory, cameras, what the daemons need.
#pragma once

#include <string>
#include <vector>

namespace sluice::tools {

enum class Grade { ok, note, bad };

struct Finding {
  std::string name;
  Grade grade;
  std::string text;
  std::string mend{};  ///< The command that mends it, where there is one.
};

std::vector<Finding> machine_findings();

}  // namespace sluice::tools
