// The cell bounds every step in time. Roles die with the cell, the cell with the harness, and the
// harness kills the cell's process group in the end: nothing survives a measurement.
#include "tests/bench/cell.hpp"

#include "tests/bench/cell_program.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/memory.hpp"
#include "tests/bench/process.hpp"

#include <nlohmann/json.hpp>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>

namespace sluice::bench {
namespace {

using nlohmann::json;

constexpr std::uint64_t kSetupLimitNs = 20'000'000'000;
constexpr std::uint64_t kExitLimitNs = 5'000'000'000;

std::vector<Channel> channels_of(const Workload& workload) {
  Channel channel{.index = 0,
                  .message_bytes = workload.message_bytes,
                  .depth = workload.depth,
                  .readers = workload.readers,
                  .lossless = workload.lossless(),
                  .waiting = workload.waiting};
  std::vector<Channel> channels{channel};
  if (workload.kind == Kind::kPingPong) {
    channel.index = 1;
    channels.push_back(channel);
  }
  return channels;
}

/// The core of a role's working thread.
int core_of(const Workload& workload, unsigned role, const std::vector<int>& cores) {
  if (workload.placement == Placement::kFree) return -1;
  if (workload.placement == Placement::kOneCore) return cores.back();
  if (cores.size() < 2) throw std::runtime_error("this workload needs two cores");
  return cores[cores.size() - 2 + role];
}

/// The forked roles of one cell.
class Roles {
 public:
  Roles(const CellContext& cell, const CellPeer& peer, double seconds)
      : control_(Control::create()), workload_(cell.workload) {
    const std::vector<int> cores = physical_cores();
    const pid_t parent = getpid();
    for (unsigned role = 0; role < workload_.roles(); ++role) {
      const RoleContext context{.control = control_,
                                .workload = workload_,
                                .role = role,
                                .window_ns = ns_of_seconds(seconds),
                                .core = core_of(workload_, role, cores)};
      const pid_t pid = fork();
      if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
      if (pid == 0) live(parent, peer, context);
      pids_.push_back(pid);
    }
  }
  Roles(const Roles&) = delete;
  Roles& operator=(const Roles&) = delete;
  ~Roles() {
    for (const pid_t pid : pids_) {
      if (pid > 0) kill(pid, SIGKILL);
    }
    for (const pid_t pid : pids_) {
      if (pid > 0) wait_for_exit(pid, kExitLimitNs);
    }
  }

  Control& control() { return control_; }
  const std::vector<pid_t>& pids() const { return pids_; }

  /// Sleeps until `word` is at least `wanted`. Throws when a role ends before, or the time does.
  void await(std::atomic<std::uint32_t>& word, std::uint32_t wanted, std::uint64_t limit_ns,
             const char* step) {
    const std::uint64_t until_ns = now_ns() + limit_ns;
    for (std::uint32_t value = word.load(); value < wanted; value = word.load()) {
      for (unsigned role = 0; role < pids_.size(); ++role) require_alive(role);
      if (now_ns() >= until_ns) throw std::runtime_error(std::string("hangs in step: ") + step);
      sleep_while_equal(word, value, 200'000'000);
    }
  }

  /// Waits until all have left by themselves.
  void join() {
    for (unsigned role = 0; role < pids_.size(); ++role) {
      const std::optional<int> status = wait_for_exit(pids_[role], kExitLimitNs);
      if (!status) throw std::runtime_error("role " + std::to_string(role) + " does not exit");
      pids_[role] = 0;
      if (*status != 0) throw_ended(role, *status);
    }
  }

 private:
  [[noreturn]] static void live(pid_t parent, const CellPeer& peer, const RoleContext& context) {
    die_with_parent(parent);
    try {
      peer.run_role(context);
    } catch (const std::exception& error) {
      context.report().fail(error.what());
      _exit(1);
    }
    std::exit(0);  // with the libraries' own clean-up, but without unwinding into the cell
  }

  void require_alive(unsigned role) {
    const std::optional<int> status = wait_for_exit(pids_[role], 0);
    if (!status) return;
    pids_[role] = 0;
    throw_ended(role, *status);
  }

  [[noreturn]] void throw_ended(unsigned role, int status) {
    const char* const error = control_.reports[role].error.data();
    throw std::runtime_error("role " + std::to_string(role) + ": " +
                             (*error != '\0' ? error : describe_exit(status)));
  }

  Control& control_;
  const Workload& workload_;
  std::vector<pid_t> pids_;
};

json latency_json(const Histogram& histogram, double divisor) {
  return json{{"p50_us", histogram.quantile_ns(0.50) / divisor},
              {"p90_us", histogram.quantile_ns(0.90) / divisor},
              {"p95_us", histogram.quantile_ns(0.95) / divisor},
              {"p99_us", histogram.quantile_ns(0.99) / divisor},
              {"p999_us", histogram.quantile_ns(0.999) / divisor},
              {"max_us", static_cast<double>(histogram.max_ns()) / divisor},
              {"samples", histogram.count()}};
}

json results_of(const Workload& workload, const Control& control) {
  const RoleReport& driver = control.reports[0];
  json result;
  switch (workload.kind) {
    case Kind::kPingPong:
      result = latency_json(driver.latency, 2'000);
      result["messages"] = driver.messages * 2;
      break;
    case Kind::kRequest:
      result = latency_json(driver.latency, 1'000);
      result["messages"] = driver.messages;
      break;
    case Kind::kStream:
    case Kind::kBus: {
      std::uint64_t messages = 0;
      std::uint64_t begin_ns = control.reports[1].begin_ns;
      std::uint64_t end_ns = 0;
      for (unsigned role = 1; role < workload.roles(); ++role) {
        const RoleReport& reader = control.reports[role];
        messages += reader.messages;
        begin_ns = std::min(begin_ns, reader.begin_ns);
        end_ns = std::max(end_ns, reader.end_ns);
      }
      result["messages"] = messages;
      result["per_second"] =
          static_cast<double>(messages) * 1e9 / static_cast<double>(end_ns - begin_ns);
      break;
    }
    case Kind::kBroker:
    case Kind::kGateway:
      throw std::runtime_error("carried by no peer");
    case Kind::kFanOut:
    case Kind::kCamera: {
      const auto merged = std::make_unique<Histogram>();
      std::uint64_t taken = 0;
      std::uint64_t lost = 0;
      for (unsigned role = 1; role < workload.roles(); ++role) {
        merged->add(control.reports[role].latency);
        taken += control.reports[role].messages;
        lost += control.reports[role].lost;
      }
      result = latency_json(*merged, 1'000);
      result["messages"] = driver.messages;
      result["taken"] = taken;
      result["lost"] = lost;
      break;
    }
  }
  return result;
}

json measure(const CellContext& cell, const CellPeer& peer, double seconds) {
  Roles roles(cell, peer, seconds);
  Control& control = roles.control();
  const unsigned count = cell.workload.roles();
  const std::vector<pid_t> daemons = peer.daemons();

  std::ranges::copy(roles.pids(), control.roles.begin());
  std::ranges::copy(daemons, control.daemons.begin());

  roles.await(control.ready, count, kSetupLimitNs, "set-up");
  control.enter(Control::kRunning);
  const std::uint64_t run_limit_ns = ns_of_seconds(seconds * 2 + 15);
  roles.await(control.phase, Control::kMeasuring, run_limit_ns, "warm-up");
  roles.await(control.finished, count, run_limit_ns, "measuring");
  const Usage& before = control.window_begin;
  const Usage after = control.usage();

  json result = results_of(cell.workload, control);
  std::vector<pid_t> all = roles.pids();
  all.insert(all.end(), daemons.begin(), daemons.end());
  const MemoryUse memory = memory_use(all);
  result["memory_private_mb"] = static_cast<double>(memory.private_bytes) / 1e6;
  result["memory_shared_mb"] = static_cast<double>(memory.shared_bytes) / 1e6;
  result["memory_mb"] = static_cast<double>(memory.private_bytes + memory.shared_bytes) / 1e6;
  result["memory_exact"] = memory.exact;

  const double messages = std::max(1.0, result["messages"].get<double>());
  const std::uint64_t roles_ns = after.roles_ns - before.roles_ns;
  const std::uint64_t daemons_ns = after.daemons_ns - before.daemons_ns;
  const double wall_ns = static_cast<double>(after.wall_ns - before.wall_ns);
  const double own_ns = static_cast<double>(roles_ns + daemons_ns);
  result["cpu_us"] = own_ns / 1e3 / messages;
  result["cpu_daemon_us"] = static_cast<double>(daemons_ns) / 1e3 / messages;
  result["foreign_cores"] =
      std::max(0.0, static_cast<double>(after.machine_ns - before.machine_ns) - own_ns) / wall_ns;

  control.enter(Control::kExiting);
  roles.join();
  return result;
}

}  // namespace

int cell_main(int argc, char** argv, const PeerTable& peers) {
  return cell_program(
      argc, argv,
      [&](const CellOptions& options, const Workload& workload, const std::string& directory) {
        const auto found = std::ranges::find(peers, options.peer, &PeerTable::value_type::first);
        if (found == peers.end()) throw std::runtime_error("no such peer");
        const CellContext cell{.workload = workload,
                               .peer = options.peer,
                               .directory = directory,
                               .channels = channels_of(workload)};
        const CellPeer peer = found->second(cell);
        return measure(cell, peer, options.seconds);
      });
}

}  // namespace sluice::bench
