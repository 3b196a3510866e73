// sluice_bench: every workload with every peer, in interleaved rounds: A, B, C, A, B, C, … so that
// what happens on the machine meanwhile meets them all.
#include "tests/bench/gates.hpp"
#include "tests/bench/machine.hpp"
#include "tests/bench/peers.hpp"
#include "tests/bench/report.hpp"
#include "tests/bench/runner.hpp"
#include "tests/bench/workload.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <fnmatch.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

namespace sluice::bench {
namespace {

using nlohmann::json;

constexpr int kMissed = 4;  // an exit code: verified, but with --gate not as fast as it shall be

struct Options {
  bool quick = false;
  bool json = false;
  bool gate = false;
  bool list = false;
  std::string only;
  std::string revision;
  unsigned rounds = 0;         // 0: 5, or 3 when quick
  double seconds = 0;          // 0: 1, or 0.2 when quick
  double fan_out_seconds = 0;  // 0: 10, or 2 when quick
  double camera_seconds = 0;   // 0: 30, or 3 when quick
};

void fill_in_defaults(Options& options) {
  if (options.rounds == 0) options.rounds = options.quick ? 3 : 5;
  if (options.seconds <= 0) options.seconds = options.quick ? 0.2 : 1;
  if (options.fan_out_seconds <= 0) options.fan_out_seconds = options.quick ? 2 : 10;
  if (options.camera_seconds <= 0) options.camera_seconds = options.quick ? 3 : 30;
}

double seconds_of(const Workload& workload, const Options& options) {
  if (workload.kind == Kind::kFanOut) return options.fan_out_seconds;
  if (workload.kind == Kind::kCamera) return options.camera_seconds;
  return options.seconds;
}

/// Long ones are measured less often.
unsigned rounds_of(const Workload& workload, const Options& options) {
  const bool is_long = workload.kind == Kind::kCamera || !workload.is_compared();
  return is_long ? std::min(options.rounds, 3U) : options.rounds;
}

/// A part of "workload/peer", or a shell pattern for the whole of it.
bool matches(const std::string& pattern, const std::string& name) {
  if (pattern.find_first_of("*?[") == std::string::npos) return name.find(pattern) != name.npos;
  return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

std::vector<Series> chosen(const Options& options) {
  std::vector<Series> all;
  for (const Workload& workload : workloads()) {
    for (const PeerInfo& peer : peers()) {
      if (!peer.takes_part(workload)) continue;
      const std::string name = std::string(workload.id) + "/" + std::string(peer.name);
      if (matches(options.only, name)) all.push_back({&workload, &peer, {}});
    }
  }
  return all;
}

void measure(std::vector<Series>& all, const Options& options, Runner& runner) {
  for (const Workload& workload : workloads()) {
    const double seconds = seconds_of(workload, options);
    for (unsigned round = 0; round < rounds_of(workload, options); ++round) {
      bool any = false;
      for (Series& series : all) {
        if (series.workload != &workload) continue;
        if (!any) std::cerr << workload.id << ", round " << round + 1 << ":" << std::flush;
        any = true;
        std::cerr << " " << series.peer->name << std::flush;
        series.rounds.push_back(runner.run(*series.peer, workload, seconds));
        if (!series.rounds.back()["ok"].get<bool>()) std::cerr << " (failed)";
      }
      if (any) std::cerr << std::endl;
    }
  }
}

/// Why the measurements shared /tmp and /dev/shm with the machine; empty when they did not.
std::string not_isolated_because(const std::vector<Series>& all) {
  for (const Series& series : all) {
    for (const json& round : series.rounds) {
      if (!round.value("isolated", true)) return round.value("not_isolated_because", "unknown");
    }
  }
  return {};
}

void print_machine(const json& machine, const Options& options) {
  std::cout << machine["processor"].get<std::string>() << ", "
            << (machine["virtual"].get<bool>() ? "virtual machine, " : "") << machine["cores"]
            << " cores; " << machine["kernel"].get<std::string>() << "; "
            << machine["distribution"].get<std::string>() << "; "
            << machine["compiler"].get<std::string>() << "; iceoryx "
            << machine["versions"]["iceoryx"].get<std::string>() << ", libzmq "
            << machine["versions"]["libzmq5"].get<std::string>() << ", GStreamer "
            << machine["versions"]["libgstreamer1.0-0"].get<std::string>() << "; "
            << machine["date"].get<std::string>() << "\nload average at the start "
            << machine["load_at_start"][0] << "; " << options.rounds << " interleaved rounds of "
            << options.seconds << " s (fan-out " << options.fan_out_seconds << " s, camera "
            << options.camera_seconds
            << " s; camera and broker at most three rounds); median over rounds, ratio to iceoryx, "
               "or to GStreamer where "
               "that is better\n";
}

int run(const Options& options) {
  std::vector<Series> all = chosen(options);
  if (options.list || all.empty()) {
    for (const Series& series : all) {
      std::cout << series.workload->id << "/" << series.peer->name << "\n";
    }
    if (all.empty()) std::cerr << "nothing matches --only " << options.only << "\n";
    return all.empty() ? 2 : 0;
  }

  const json machine = describe_machine();
  Runner runner(std::filesystem::read_symlink("/proc/self/exe").parent_path());
  measure(all, options, runner);

  print_machine(machine, options);
  const std::string shared_because = not_isolated_because(all);
  if (!shared_because.empty()) {
    std::cout << "no mount namespace of its own, /tmp and /dev/shm were the machine's: "
              << shared_because << "\n";
  }
  std::cout << table(all) << "\n";
  for (const PeerInfo& peer : peers()) std::cout << "  " << peer.name << ": " << peer.note << "\n";

  const std::vector<std::string> complaints = failures(all);
  for (const std::string& line : complaints) std::cout << "FAILED " << line << "\n";
  const std::vector<Verdict> verdicts = judge(all, gates());
  const auto missed =
      std::ranges::count_if(verdicts, [](const Verdict& verdict) { return !verdict.met; });
  std::cout << "targets: " << std::ssize(verdicts) - missed << " met, " << missed << " missed\n";
  for (const Verdict& verdict : verdicts) {
    if (verdict.met) continue;
    std::cout << "MISSED " << verdict.gate->workload << ": " << sentence(verdict) << "\n";
  }
  if (options.json) {
    const json object{{"ok", complaints.empty()},
                      {"targets_met", std::ssize(verdicts) - missed},
                      {"targets_missed", missed},
                      {"machine", machine},
                      {"revision", options.revision},
                      {"isolated", shared_because.empty()},
                      {"rounds", options.rounds},
                      {"seconds", options.seconds},
                      {"fan_out_seconds", options.fan_out_seconds},
                      {"camera_seconds", options.camera_seconds},
                      {"reference", kReferencePeers},
                      {"failures", complaints},
                      {"workloads", summary(all)}};
    std::cout << object.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
  }
  if (!complaints.empty()) return 1;
  if (options.gate && verdicts.empty()) std::cerr << "what was measured has no target\n";
  return options.gate && (missed != 0 || verdicts.empty()) ? kMissed : 0;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  sluice::bench::Options options;
  CLI::App app("Sluice and its peers, measured side by side. See tests/bench/README.md.");
  app.add_flag("--quick", options.quick, "a good minute, for a first look");
  app.add_flag("--json", options.json, "end with all results as one JSON object on the last line");
  app.add_flag("--gate", options.gate, "exit with 4 when a target is missed, or there is none");
  app.add_flag("--list", options.list, "name what would be measured, measure nothing");
  app.add_option("--only", options.only, "part of, or shell pattern for, workload/peer");
  app.add_option("--rounds", options.rounds, "how often each is measured");
  app.add_option("--seconds", options.seconds, "of one measurement");
  app.add_option("--fan-out-seconds", options.fan_out_seconds, "of one measurement of fanout4");
  app.add_option("--camera-seconds", options.camera_seconds, "of one measurement of camera3");
  app.add_option("--revision", options.revision, "what is measured, for the JSON");
  CLI11_PARSE(app, argc, argv);
  try {
    sluice::bench::fill_in_defaults(options);
    return sluice::bench::run(options);
  } catch (const std::exception& error) {
    std::cerr << "sluice_bench: " << error.what() << "\n";
    return 3;
  }
}
