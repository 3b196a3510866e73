// Where the programs of a pipeline are.
#pragma once

#include "sluice/result.hpp"

#include <string>
#include <vector>

namespace sluice::run {

/// A path is checked; a name is looked for beside this program, then in PATH. The error says where.
Result<std::string> find_program(const std::string& name);

/// For people and shells: quoted where it has to be.
std::string shell_text(const std::vector<std::string>& command);

}  // namespace sluice::run
