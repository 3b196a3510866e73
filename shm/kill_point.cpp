// Kill points exist only where the build asks for them; see kill_point.hpp.
#include "shm/kill_point.hpp"

#if defined(SLUICE_KILL_POINTS)

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <string>

namespace sluice::shm {
namespace {

struct Plan {
  std::string name;
  long visit = 1;
  std::string list_file;
};

// Read once: the environment is set before the process under test starts working.
const Plan& plan() {
  static const Plan value = [] {
    Plan p;
    if (const char* at = std::getenv("SLUICE_KILL_AT")) {
      p.name = at;
      if (const std::size_t colon = p.name.find(':'); colon != std::string::npos) {
        p.visit = std::strtol(p.name.c_str() + colon + 1, nullptr, 10);
        p.name.resize(colon);
      }
    }
    if (const char* file = std::getenv("SLUICE_KILL_LIST")) p.list_file = file;
    return p;
  }();
  return value;
}

void note(const char* name, const std::string& file) {
  static std::mutex mutex;
  static std::set<std::string> seen;
  const std::lock_guard lock{mutex};
  if (!seen.insert(name).second) return;
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  const std::string line = std::string(name) + "\n";
  (void)!::write(fd, line.data(), line.size());
  ::close(fd);
}

}  // namespace

void kill_point(const char* name) noexcept {
  const Plan& p = plan();
  if (!p.list_file.empty()) note(name, p.list_file);
  if (p.name.empty() || p.name != name) return;
  static std::atomic<long> visits{0};
  // relaxed: a count
  if (visits.fetch_add(1, std::memory_order_relaxed) + 1 == p.visit) ::raise(SIGKILL);
}

}  // namespace sluice::shm

#endif
