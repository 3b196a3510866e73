#include "tests/bench/machine.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>

namespace sluice::bench {
namespace {

using nlohmann::json;

/// The value behind the first "key...: value" or key=value of a file; empty without it.
std::string value_in(const char* path, std::string_view key, char separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t at = line.find(separator);
    if (at == std::string::npos) continue;
    const std::size_t begin = line.find_first_not_of(" \t\"", at + 1);
    const std::size_t end = line.find_last_not_of(" \t\"");
    return begin == std::string::npos ? "" : line.substr(begin, end - begin + 1);
  }
  return {};
}

std::string package_version(const std::string& package) {
  const std::string command = "dpkg-query -W -f='${Version}' " + package + " 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::array<char, 128> text{};
  if (!pipe || fgets(text.data(), text.size(), pipe.get()) == nullptr) return "unknown";
  return text.data();
}

std::string processor() {
  for (const char* key : {"model name", "Model", "Hardware"}) {
    if (std::string name = value_in("/proc/cpuinfo", key, ':'); !name.empty()) return name;
  }
  return "unknown";
}

bool is_virtual() {
  return value_in("/proc/cpuinfo", "flags", ':').find(" hypervisor") != std::string::npos;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

}  // namespace

json describe_machine() {
  utsname kernel{};
  uname(&kernel);
  json versions;
  for (const char* package :
       {"iceoryx", "libzmq5", "libgstreamer1.0-0", "libc6", "libbenchmark-dev"}) {
    versions[package] = package_version(package);
  }
  std::array<double, 3> load{};
  getloadavg(load.data(), 3);
  return json{{"processor", processor()},
              {"virtual", is_virtual()},
              {"cores", sysconf(_SC_NPROCESSORS_ONLN)},
              {"memory_gb", static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                                static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e9},
              {"architecture", kernel.machine},
              {"kernel", std::string(kernel.sysname) + " " + kernel.release},
              {"distribution", value_in("/etc/os-release", "PRETTY_NAME", '=')},
              {"compiler", "GCC " __VERSION__},
              {"versions", versions},
              {"date", utc_now()},
              {"load_at_start", load}};
}

}  // namespace sluice::bench
