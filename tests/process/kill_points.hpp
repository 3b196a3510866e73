// The names of all kill points of a folder, read from the sources: a new one is tested the day it is
// written.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

namespace sluice::test {

inline std::set<std::string> kill_points(const std::string& folder = "shm") {
  std::set<std::string> names;
  const std::string call = "SLUICE_KILL_POINT(\"";
  for (const auto& file : std::filesystem::directory_iterator(SLUICE_SOURCE_DIR "/" + folder)) {
    if (file.path().extension() != ".cpp") continue;
    std::ifstream in{file.path()};
    const std::string text{std::istreambuf_iterator<char>{in}, {}};
    for (std::size_t at = text.find(call); at != std::string::npos; at = text.find(call, at)) {
      at += call.size();
      names.insert(text.substr(at, text.find('"', at) - at));
    }
  }
  return names;
}

}  // namespace sluice::test
