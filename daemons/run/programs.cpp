// Programs: first beside this one, so that a build folder and an installation each use their own.
#include "daemons/run/programs.hpp"

#include "transport/quote.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace sluice::run {
namespace {

namespace fs = std::filesystem;

bool is_program(const fs::path& path) {
  std::error_code code;
  return fs::is_regular_file(path, code) && ::access(path.c_str(), X_OK) == 0;
}

fs::path own_folder() {
  std::error_code code;
  return fs::read_symlink("/proc/self/exe", code).parent_path();
}

}  // namespace

Result<std::string> find_program(const std::string& name) {
  const auto missing = [&](const std::string& where) {
    return Error{Errc::system, ENOENT,
                 "there is no program " + transport::quoted(name) + " " + where +
                     "; install it, or correct its name"};
  };
  if (name.find('/') != std::string::npos) {
    if (is_program(name)) return name;
    return missing("that may be run at this path");
  }
  const fs::path beside = own_folder();
  if (is_program(beside / name)) return (beside / name).string();
  const char* variable = ::secure_getenv("PATH");
  const std::string path = variable != nullptr ? variable : "/usr/local/bin:/usr/bin:/bin";
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find(':', begin), path.size());
    const std::string folder = path.substr(begin, end - begin);
    if (!folder.empty() && is_program(fs::path(folder) / name)) {
      return fs::absolute(fs::path(folder) / name).string();
    }
    begin = end + 1;
  }
  return missing("in " + beside.string() + " or in PATH (" + path + ")");
}

std::string shell_text(const std::vector<std::string>& command) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,=@%+";
  std::string text;
  for (const std::string& word : command) {
    if (!text.empty()) text += ' ';
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) {
      text += word;
      continue;
    }
    text += '\'';
    for (const char c : word) {
      if (c == '\'') {
        text += "'\\''";
      } else {
        text += c;
      }
    }
    text += '\'';
  }
  return text;
}

}  // namespace sluice::run
