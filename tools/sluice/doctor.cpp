// sluice doctor: whether this machine has what Sluice uses, and what to do where it has not.
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "shm/futex.hpp"
#include "shm/memory.hpp"
#include "tools/sluice/verb.hpp"

namespace sluice::tools {
namespace {

enum class Grade { ok, note, bad };

struct Finding {
  std::string name;
  Grade grade;
  std::string text;
};

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

Finding descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const std::string text =
      std::to_string(limit.rlim_cur) + " now, " + std::to_string(limit.rlim_max) + " at most";
  if (limit.rlim_max < 1024) {
    return {"descriptors", Grade::note, text + "; raise LimitNOFILE= or ulimit -Hn for many streams"};
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

int report(bool json) {
  const std::vector<Finding> findings{kernel(),     sealed_memory(), waiting(),   process_handles(),
                                      processors(), descriptors(),   huge_pages()};
  bool good = true;
  nlohmann::json all = nlohmann::json::array();
  for (const Finding& finding : findings) {
    good = good && finding.grade != Grade::bad;
    if (json) {
      all.push_back({{"name", finding.name},
                     {"grade", to_string(finding.grade)},
                     {"text", finding.text}});
    } else {
      std::printf("%-4s  %-14s  %s\n", to_string(finding.grade), finding.name.c_str(),
                  finding.text.c_str());
    }
  }
  if (json) std::printf("%s\n", nlohmann::json{{"ok", good}, {"findings", all}}.dump().c_str());
  return good ? 0 : 1;
}

}  // namespace

void add_doctor(CLI::App& app, Run& run) {
  auto json = std::make_shared<bool>(false);
  CLI::App* verb = app.add_subcommand("doctor", "Check what this machine offers to Sluice");
  verb->group(kChecking);
  verb->add_flag("--json", *json, "One JSON object");
  verb->footer("Exit code 0 when Sluice can work here, 1 when it cannot.\n\n"
               "Example: sluice doctor");
  verb->callback([json, &run] { run = [json] { return report(*json); }; });
}

}  // namespace sluice::tools
