#include "tests/bench/cell_program.hpp"

#include "tests/bench/process.hpp"

#include <CLI/CLI.hpp>

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <optional>
#include <system_error>

namespace sluice::bench {
namespace {

using nlohmann::json;

/// A directory for sockets and configuration, removed by the process that made it.
class Directory {
 public:
  Directory() {
    std::string path = "/tmp/sluice-bench-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) {
      throw std::system_error(errno, std::generic_category(), "a directory in /tmp");
    }
    path_ = path;
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

json run(const CellOptions& options, const MeasureCell& measure) {
  json result{{"ok", false}};
  const Workload* const workload = find_workload(options.workload);
  if (workload == nullptr) {
    result["error"] = "no such workload";
    return result;
  }
  const std::optional<std::string> shared_because = isolate_mounts();
  result["isolated"] = !shared_because;
  if (shared_because) result["not_isolated_because"] = *shared_because;
  try {
    const Directory directory;
    result.update(measure(options, *workload, directory.path()));
    result["ok"] = true;
  } catch (const std::exception& error) {
    result["error"] = error.what();
  }
  return result;
}

}  // namespace

int cell_program(int argc, char** argv, const MeasureCell& measure) {
  CellOptions options;
  CLI::App app("One measurement; started by sluice_bench.");
  app.add_option("--peer", options.peer)->required();
  app.add_option("--workload", options.workload)->required();
  app.add_option("--seconds", options.seconds);
  app.add_option("--result-fd", options.result_fd);
  CLI11_PARSE(app, argc, argv);

  // A child's end interrupts the futex that the cell sleeps in.
  struct sigaction on_child {};
  on_child.sa_handler = [](int) {};
  sigaction(SIGCHLD, &on_child, nullptr);

  const json result = run(options, measure);
  const std::string line = result.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  for (std::size_t sent = 0; sent < line.size();) {
    const ssize_t n = write(options.result_fd, line.data() + sent, line.size() - sent);
    if (n < 0 && errno != EINTR) return 2;
    if (n > 0) sent += static_cast<std::size_t>(n);
  }
  return result["ok"].get<bool>() ? 0 : 1;
}

}  // namespace sluice::bench
