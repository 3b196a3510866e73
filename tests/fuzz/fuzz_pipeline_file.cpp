// pipeline.toml: arbitrary text either is refused at a place in it, or makes processes that can be
// started: each under a name of its own, with words that a command line can hold.
#include "daemons/run/pipeline_file.hpp"
#include "daemons/run/programs.hpp"
#include "tests/fuzz/input.hpp"

#include <algorithm>
#include <set>
#include <string>

namespace sluice::fuzz {
namespace {

using run::Kind;
using run::Process;

void check_words(const Process& process) {
  require(!process.command.empty() && !process.command.front().empty(), "there is a program");
  for (const std::string& word : process.command) {
    require(word.find('\0') == std::string::npos, "a word ends where it ends");
  }
  for (const auto& [name, value] : process.environment) {
    require(!name.empty() && name.find('=') == std::string::npos, "a variable has a name");
    require((name + value).find('\0') == std::string::npos, "a variable ends where it ends");
  }
  require(!run::shell_text(process.command).empty(), "a command can be shown");
}

void check_settings(const Process& process) {
  const std::string& folder = process.working_directory;
  require(folder.empty() || folder[0] == '/', "a folder does not depend on ours");
  require(folder.find('\0') == std::string::npos, "a folder ends where it ends");
  require(!process.nice || (*process.nice >= -20 && *process.nice <= 19), "nice is in its range");
  require(std::is_sorted(process.cpus.begin(), process.cpus.end()), "processors are in order");
  require(process.cpus.empty() || process.cpus.back() < 1'024, "a set has room for processors");
}

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  using namespace sluice::fuzz;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto pipeline = run::parse_pipeline(text, "fuzz", "/folder");
  if (!pipeline) {
    require(pipeline.error().message.rfind("fuzz", 0) == 0, "an error has a place");
    return 0;
  }
  const std::string& socket = pipeline->socket;
  require(socket.empty() || socket[0] == '/', "a socket does not depend on our folder");
  require(socket.find('\0') == std::string::npos, "a socket's path ends where it ends");
  check_words(pipeline->broker);
  check_settings(pipeline->broker);
  std::set<std::string> names;
  for (const Process& process : pipeline->processes) {
    require(process.kind != Kind::broker, "there is one broker");
    require(!process.table.empty() || process.kind == Kind::process, "tables have names");
    require(names.insert(process.name).second, "a name is a process's own");
    check_words(process);
    check_settings(process);
  }
  return 0;
}
