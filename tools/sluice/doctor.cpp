// sluice doctor: whether this machine has what Sluice uses, and what to do where it has not.
//
// Each check is a function that looks at one thing and changes nothing. What keeps Sluice from
// working is bad, what makes it slower or less capable is a note; both come with the command that
// mends it, where there is one. doctor_machine.cpp looks at the machine around Sluice.
#include "shm/fd.hpp"
#include "shm/futex.hpp"
#include "shm/memory.hpp"
#include "tools/sluice/doctor_machine.hpp"
#include "tools/sluice/session.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/verb.hpp"
#include "transport/socket_path.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace sluice::tools {
namespace {

const char* to_string(Grade grade) {
  return grade == Grade::ok ? "ok" : grade == Grade::note ? "note" : "BAD";
}

Finding kernel() {
  utsname name{};
  ::uname(&name);
  return {"kernel", Grade::ok, std::string(name.release) + " " + name.machine};
}

Finding sealed_memory() {
  auto segment = shm::Segment::create("sluice-doctor", 1);
  if (!segment) return {"sealed memory", Grade::bad, segment.error().message};
  auto fd = segment->share();
  if (!fd) return {"sealed memory", Grade::bad, fd.error().message};
  auto view = shm::View::open(fd->get(), "the test segment", segment->size());
  if (!view) return {"sealed memory", Grade::bad, view.error().message};
  return {"sealed memory", Grade::ok,
          "one writer per page, " + std::to_string(shm::page_bytes()) + " byte pages"};
}

Finding waiting() {
  if (shm::has_futex_waitv()) return {"futex_waitv", Grade::ok, "one sleep on up to 128 streams"};
  return {"futex_waitv", Grade::note,
          "not in this kernel (Linux 5.16 has it); wait sets use eventfds instead"};
}

Finding process_handles() {
  const long fd = ::syscall(SYS_pidfd_open, ::getpid(), 0);
  if (fd < 0) {
    return {"pidfd", Grade::note,
            "not in this kernel (Linux 5.3 has it); the death of a process is noticed later"};
  }
  ::close(static_cast<int>(fd));
  return {"pidfd", Grade::ok, "deaths are noticed at once"};
}

Finding processors() {
  if (shm::can_spin()) return {"processors", Grade::ok, "more than one: short waits spin"};
  return {"processors", Grade::note, "one: waits sleep at once, latency is a context switch"};
}

Finding locked_memory() {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return {"locked memory", Grade::ok, "no limit"};
  return {"locked memory", Grade::ok, bytes_text(limit.rlim_cur) + " may be locked"};
}

Finding descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const std::string text =
      std::to_string(limit.rlim_cur) + " now, " + std::to_string(limit.rlim_max) + " at most";
  if (limit.rlim_max < 1024) {
    return {"descriptors", Grade::note, text + ": few for many streams",
            "ulimit -Hn 4096, or LimitNOFILE=4096 in the unit"};
  }
  return {"descriptors", Grade::ok, text};
}

Finding huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  std::string text;
  std::getline(file, text);
  if (text.find("[advise]") != std::string::npos || text.find("[always]") != std::string::npos) {
    return {"huge pages", Grade::ok, "transparent ones for shared memory are allowed"};
  }
  return {"huge pages", Grade::ok,
          "transparent ones for shared memory are off; HugePages::transparent has no effect until "
          "`echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled`"};
}

// How a socket that is there answers.
Finding broker(const std::string& given) {
  const auto path = transport::client_socket_path(given);
  if (!path) return {"broker", Grade::note, path.error().message, "export SLUICE_SOCKET=PATH"};
  const std::string shown = clean(*path);
  struct stat status {};
  if (::stat(path->c_str(), &status) != 0) {
    if (errno == EACCES) {
      return {"broker", Grade::bad, "no permission to look at " + shown,
              "sudo usermod -aG sluice $USER, then log in again"};
    }
    return {"broker", Grade::note, "none listens at " + shown,
            "sudo systemctl start sluiced, or sluiced &"};
  }
  if (!S_ISSOCK(status.st_mode)) {
    return {"broker", Grade::bad, shown + " is no socket", "rm " + shown};
  }
  const shm::UniqueFd fd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path->copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EACCES || errno == EPERM) {
      return {"broker", Grade::bad, "no permission to connect to " + shown,
              "sudo usermod -aG sluice $USER, then log in again"};
    }
    if (errno == ECONNREFUSED) {
      return {"broker", Grade::note,
              shown + " is left over from a broker that is gone; the next one replaces it",
              "sudo systemctl restart sluiced, or sluiced &"};
    }
    if (errno != EAGAIN) {
      return {"broker", Grade::bad, shown + ": " + std::strerror(errno),
              "sudo systemctl restart sluiced"};
    }
  }
  auto node = connect({*path, 2}, "doctor");
  if (!node) {
    // Versions that do not go together and policies that let nobody in come as sentences.
    return {"broker", Grade::bad, clean(node.error().message),
            "journalctl -u sluiced, or look at sluiced's log"};
  }
  auto monitor = node->monitor("#");
  if (!monitor) {
    return {"broker", Grade::note,
            "up at " + shown + ", but we may not monitor: " + clean(monitor.error().message)};
  }
  const Snapshot snapshot = monitor->snapshot();
  // Neither the broker's own node nor ours.
  const auto others = std::count_if(
      snapshot.nodes.begin(), snapshot.nodes.end(),
      [&](const NodeInfo& info) { return info.id != node->id() && info.name != "sluiced"; });
  return {"broker", Grade::ok,
          "up at " + shown + ", " + plural(static_cast<std::size_t>(others), "node") + ", " +
              plural(snapshot.streams.size(), "stream")};
}

Finding misfits(const std::string& given) {
  auto node = connect({given, 0}, "doctor");
  if (!node) return {"subscriptions", Grade::ok, "not known without a broker"};
  auto monitor = node->monitor("#");
  if (!monitor) return {"subscriptions", Grade::ok, "not known without the right to monitor"};
  const Snapshot snapshot = monitor->snapshot();
  std::string stuck;
  for (const NodeInfo& info : snapshot.nodes) {
    if (info.stuck) stuck += " " + clean(info.name) + " (pid " + std::to_string(info.pid) + ")";
  }
  if (!stuck.empty()) {
    return {"processes", Grade::note, "show no sign of life:" + stuck, "sluice top"};
  }
  if (!snapshot.unfit.empty()) {
    return {"subscriptions", Grade::note,
            plural(snapshot.unfit.size(), "pair") +
                " of stream and subscription do not fit: " + clean(snapshot.unfit[0].sentence),
            "sluice ls"};
  }
  return {"subscriptions", Grade::ok, "all that match a stream fit it"};
}

int report(const std::string& socket, bool json) {
  std::vector<Finding> findings{kernel(),       sealed_memory(), waiting(),       process_handles(),
                                processors(),   descriptors(),   locked_memory(), huge_pages(),
                                broker(socket), misfits(socket)};
  for (Finding& finding : machine_findings()) findings.push_back(std::move(finding));
  bool good = true;
  nlohmann::json all = nlohmann::json::array();
  std::size_t notes = 0;
  for (const Finding& finding : findings) {
    good = good && finding.grade != Grade::bad;
    notes += finding.grade == Grade::note;
    if (json) {
      all.push_back(
          {{"name", finding.name},
           {"grade", to_string(finding.grade)},
           {"text", finding.text},
           {"mend", finding.mend.empty() ? nlohmann::json() : nlohmann::json(finding.mend)}});
      continue;
    }
    std::printf("%-4s  %-14s  %s\n", to_string(finding.grade), finding.name.c_str(),
                finding.text.c_str());
    if (!finding.mend.empty() && finding.grade != Grade::ok) {
      std::printf("%-4s  %-14s    %s\n", "", "", finding.mend.c_str());
    }
  }
  if (json) {
    std::printf("%s\n", dumped({{"ok", good}, {"findings", all}}).c_str());
  } else {
    std::printf("\n%s\n", !good        ? "Sluice cannot work as it is: see what is BAD."
                          : notes != 0 ? "Sluice can work here; the notes say what could be better."
                                       : "All is well.");
  }
  return good ? 0 : 1;
}

}  // namespace

void add_doctor(CLI::App& app, Run& run) {
  struct Options {
    std::string socket;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("doctor", "Check what this machine offers to Sluice");
  verb->group(kChecking);
  verb->add_flag("--json", options->json, "One JSON object");
  add_socket(*verb, options->socket);
  verb->footer(
      "Says what is wrong, and the command that mends it. Exit code 0 when Sluice can work "
      "here, 1\nwhen it cannot.\n\n"
      "Example: sluice doctor");
  verb->callback(
      [options, &run] { run = [options] { return report(options->socket, options->json); }; });
}

}  // namespace sluice::tools
