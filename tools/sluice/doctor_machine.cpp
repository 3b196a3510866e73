// Files below /proc, /sys and /dev are read as they are; what is not there is not reported on,
// since containers and boards lack this or that.
#include "tools/sluice/doctor_machine.hpp"

#include "tools/sluice/text.hpp"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <utility>

namespace sluice::tools {
namespace {

namespace fs = std::filesystem;

std::string line_of(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<std::uint64_t> number_of(const fs::path& path) {
  const std::string line = line_of(path);
  if (line.empty() ||
      !std::all_of(line.begin(), line.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    return std::nullopt;
  }
  return std::strtoull(line.c_str(), nullptr, 10);
}

// "Name:   123 kB" in files of that form, in bytes.
std::optional<std::uint64_t> kilobytes(const fs::path& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name + ":")) continue;
    return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10) * 1024;
  }
  return std::nullopt;
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> all;
  std::error_code error;
  for (fs::directory_iterator at(folder, fs::directory_options::skip_permission_denied, error), end;
       !error && at != end; at.increment(error)) {
    all.push_back(at->path());
  }
  std::sort(all.begin(), all.end());
  return all;
}

void memory(std::vector<Finding>& findings) {
  const auto available = kilobytes("/proc/meminfo", "MemAvailable");
  if (!available) return;
  std::string text = bytes_text(*available) + " available";
  if (const auto shared = kilobytes("/proc/meminfo", "Shmem")) {
    text += ", " + bytes_text(*shared) + " in shared memory";
  }
  // Who has most of it mapped; the frames of one pipeline stand under each of its processes.
  std::vector<std::pair<std::uint64_t, std::string>> users;
  for (const fs::path& process : entries("/proc")) {
    const std::string pid = process.filename();
    if (std::isdigit(static_cast<unsigned char>(pid[0])) == 0) continue;
    const auto bytes = kilobytes(process / "status", "RssShmem");
    if (bytes.value_or(0) < 32'000'000) continue;
    users.emplace_back(*bytes,
                       clean(line_of(process / "comm")) + " (" + pid + ") " + bytes_text(*bytes));
  }
  std::sort(users.rbegin(), users.rend());
  for (std::size_t i = 0; i < std::min<std::size_t>(users.size(), 3); ++i) {
    text += (i == 0 ? ", most by " : ", ") + users[i].second;
  }
  const bool little = *available < 128'000'000;
  findings.push_back({"memory", little ? Grade::note : Grade::ok, text,
                      little ? "fewer or smaller streams: depth, max_held, width and height" : ""});
}

void memory_limit(std::vector<Finding>& findings) {
  const std::string line = line_of("/proc/self/cgroup");
  fs::path v2;
  if (line.starts_with("0::/")) v2 = fs::path("/sys/fs/cgroup") / line.substr(4);
  auto limit = number_of(v2 / "memory.max");
  auto used = number_of(v2 / "memory.current");
  if (!limit) {
    limit = number_of("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    used = number_of("/sys/fs/cgroup/memory/memory.usage_in_bytes");
  }
  if (!limit || !used || *limit > (std::uint64_t{1} << 50)) return;
  const bool tight = *used > *limit - *limit / 10;
  findings.push_back({"memory limit", tight ? Grade::note : Grade::ok,
                      bytes_text(*used) + " of " + bytes_text(*limit) +
                          " used in this control group, which shared memory counts in",
                      tight ? "raise MemoryMax= of the unit, or the container's limit" : ""});
}

void shared_memory_files(std::vector<Finding>& findings) {
  std::uint64_t bytes = 0;
  std::size_t count = 0;
  std::string largest;
  std::uint64_t most = 0;
  for (const fs::path& path : entries("/dev/shm")) {
    std::error_code error;
    const std::uint64_t size = fs::is_regular_file(path, error) ? fs::file_size(path, error) : 0;
    if (error) continue;
    bytes += size;
    ++count;
    if (size > most) {
      most = size;
      largest = clean(path.string());
    }
  }
  // Sluice leaves no names there; others do, and what they leave is not free for frames.
  const bool big = bytes > 256'000'000;
  findings.push_back({"/dev/shm", big ? Grade::note : Grade::ok,
                      count == 0 ? "empty"
                                 : plural(count, "file") + " of others, " + bytes_text(bytes) +
                                       (largest.empty() ? "" : ", the largest " + largest),
                      big ? "ls -lS /dev/shm, and rm what belongs to no running program" : ""});
}

void governor(std::vector<Finding>& findings) {
  const std::string name = line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  if (name.empty()) return;
  const bool slow = name == "powersave";
  findings.push_back({"governor", slow ? Grade::note : Grade::ok,
                      clean(name) + (slow ? ": clocks stay low, and a wake-up takes longer" : ""),
                      slow ? "echo schedutil | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/"
                             "scaling_governor"
                           : ""});
}

void cameras(std::vector<Finding>& findings) {
  std::string usable;
  std::string closed;
  for (const fs::path& path : entries("/dev")) {
    if (!path.filename().string().starts_with("video")) continue;
    std::string& list = ::access(path.c_str(), R_OK | W_OK) == 0 ? usable : closed;
    list += (list.empty() ? "" : ", ") + clean(path.string());
  }
  if (!closed.empty()) {
    findings.push_back({"cameras", Grade::bad, "no permission for " + closed,
                        "sudo usermod -aG video $USER, then log in again"});
  }
  if (!usable.empty()) findings.push_back({"cameras", Grade::ok, usable});
  if (usable.empty() && closed.empty()) {
    findings.push_back({"cameras", Grade::ok, "no /dev/video*: network cameras and files only"});
  }
}

// Beside this program, or in PATH.
bool installed(const std::string& program) {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (!error && ::access((self.parent_path() / program).c_str(), X_OK) == 0) return true;
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (!folder.empty() && ::access((fs::path(folder) / program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

// Where GStreamer looks: a variable replaces its own folders, another one adds to them.
const char* variable(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (std::getenv(name) != nullptr) return name;
  }
  return nullptr;
}
constexpr auto kInsteadOf = {"GST_PLUGIN_SYSTEM_PATH_1_0", "GST_PLUGIN_SYSTEM_PATH"};
constexpr auto kBeside = {"GST_PLUGIN_PATH_1_0", "GST_PLUGIN_PATH"};

void add_listed(std::vector<fs::path>& folders, const char* name) {
  std::istringstream list(name != nullptr ? std::getenv(name) : "");
  for (std::string folder; std::getline(list, folder, ':');) {
    if (!folder.empty()) folders.emplace_back(folder);
  }
}

std::vector<fs::path> own_plugin_folders() {
  std::vector<fs::path> folders;
  for (const char* root : {"/usr/lib", "/usr/local/lib"}) {
    folders.push_back(fs::path(root) / "gstreamer-1.0");
    for (const fs::path& triplet : entries(root)) folders.push_back(triplet / "gstreamer-1.0");
  }
  return folders;
}

// A plugin is looked for by its file, not loaded: its libraries are not this program's.
bool has_plugin(const std::vector<fs::path>& folders, const std::string& plugin) {
  return std::any_of(folders.begin(), folders.end(), [&](const fs::path& folder) {
    return ::access((folder / ("libgst" + plugin + ".so")).c_str(), R_OK) == 0;
  });
}

void gstreamer(std::vector<Finding>& findings) {
  if (!installed("sluice-capture")) return;
  struct Plugin {
    const char* name;
    const char* use;
    const char* package;
    bool needed;
  };
  constexpr const char* kBase = "gstreamer1.0-plugins-base";
  constexpr const char* kGood = "gstreamer1.0-plugins-good";
  constexpr Plugin kPlugins[] = {
      {"videoconvertscale", "formats and sizes", kBase, true},
      {"playback", "decoding", kBase, true},
      {"typefindfunctions", "decoding", kBase, true},
      {"app", "images://", kBase, false},
      {"videotestsrc", "test://", kBase, false},
      {"jpeg", "MJPEG, images://", kGood, false},
      {"png", "images://", kGood, false},
      {"isomp4", "file://", kGood, false},
      {"video4linux2", "v4l2://", kGood, false},
      {"rtsp", "rtsp://", kGood, false},
      {"rtp", "rtsp://, sluice-photo-camera", kGood, false},
      {"rtpmanager", "rtsp://, sluice-photo-camera", kGood, false},
      {"udp", "rtsp://, sluice-photo-camera", kGood, false},
      {"libcamera", "libcamera://", "gstreamer1.0-libcamera", false},
      {"videoparsersbad", "H.264 and H.265", "gstreamer1.0-plugins-bad", false},
      {"libav", "H.264 and H.265", "gstreamer1.0-libav", false},
      {"x264", "sluice-photo-camera", "gstreamer1.0-plugins-ugly", false},
  };
  const std::vector<fs::path> own = own_plugin_folders();
  const char* const instead = variable(kInsteadOf);
  std::vector<fs::path> folders;
  add_listed(folders, instead);
  if (instead == nullptr) folders = own;
  add_listed(folders, variable(kBeside));
  if (const char* home = std::getenv("HOME"); home != nullptr && instead == nullptr) {
    folders.push_back(fs::path(home) / ".local/share/gstreamer-1.0/plugins");
  }
  std::string missing;
  std::vector<std::string> packages;
  bool bad = false;
  bool elsewhere = false;  // installed, but not where the variable leads
  for (const Plugin& plugin : kPlugins) {
    if (has_plugin(folders, plugin.name)) continue;
    missing += joined({missing.empty() ? "" : ", ", plugin.name, " (", plugin.use, ")"});
    bad = bad || plugin.needed;
    if (has_plugin(own, plugin.name)) {
      elsewhere = true;
    } else if (std::find(packages.begin(), packages.end(), plugin.package) == packages.end()) {
      packages.emplace_back(plugin.package);
    }
  }
  if (missing.empty()) {
    findings.push_back({"GStreamer", Grade::ok, "all plugins that sluice-capture can use"});
    return;
  }
  std::string mend = elsewhere ? joined({"unset ", instead}) : "";
  if (!packages.empty()) mend += joined({mend.empty() ? "" : "; ", "sudo apt-get install"});
  for (const std::string& package : packages) mend += " " + package;
  findings.push_back(
      {"GStreamer", bad ? Grade::bad : Grade::note,
       joined({"not ", instead != nullptr ? joined({"where ", instead, " leads: "}) : "installed: ",
               missing}),
       mend});
}

void cascades(std::vector<Finding>& findings) {
  if (!installed("sluice-detect")) return;
  // Where sluice-detect looks, and what --model lbp and --model haar read.
  std::string missing;
  for (const char* name : {"lbpcascades/lbpcascade_frontalface.xml",
                           "haarcascades/haarcascade_frontalface_alt2.xml"}) {
    const bool there = ::access((fs::path("/usr/share/opencv4") / name).c_str(), R_OK) == 0 ||
                       ::access((fs::path("/usr/local/share/opencv4") / name).c_str(), R_OK) == 0;
    if (!there) missing += joined({missing.empty() ? "" : ", ", name});
  }
  if (missing.empty()) {
    findings.push_back({"cascades", Grade::ok, "those of sluice-detect's models lbp and haar"});
    return;
  }
  findings.push_back({"cascades", Grade::bad,
                      "not in /usr/share/opencv4: " + missing +
                          "; sluice-detect needs them, or another model with --file",
                      "sudo apt-get install opencv-data"});
}

}  // namespace

std::vector<Finding> machine_findings() {
  std::vector<Finding> findings;
  memory(findings);
  memory_limit(findings);
  shared_memory_files(findings);
  governor(findings);
  cameras(findings);
  gstreamer(findings);
  cascades(findings);
  return findings;
}

}  // namespace sluice::tools
