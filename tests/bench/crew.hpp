// Processes of the same program that go through a measurement in step: for what has many processes,
// or needs their starts from nothing. Each is a fork and an exec: `<program> --part NAME BOARD
// INDEX ARGUMENT…`. The board is memory that all of them map writable, a memfd that the exec
// inherits. Whoever waits sleeps in a futex.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace sluice::bench {

inline constexpr std::size_t kMaxCrew = 128;

struct alignas(64) CrewRecord {
  std::atomic<std::uint64_t> started_ns{0};             // just before the fork
  std::array<std::atomic<std::uint64_t>, 16> values{};  // what the part reports
  std::array<char, 256> error{};
};

struct CrewBoard {
  std::atomic<std::uint32_t> phase{0};                // that the members may be in
  std::atomic<std::uint32_t> done{0};                 // members that have finished it
  std::array<std::atomic<std::uint64_t>, 8> words{};  // for all, as the measurement likes
  std::array<CrewRecord, kMaxCrew> members;
};

/// A member's side.
struct CrewMember {
  CrewBoard& board;
  std::size_t index;
  std::vector<std::string> arguments;

  CrewRecord& record() const { return board.members[index]; }
  /// Sleeps until the crew is in `phase`.
  void await(std::uint32_t phase) const;
  void finish() const;  // the phase
};

/// A part returns when it is done, or throws.
using CrewParts = std::map<std::string, std::function<void(const CrewMember&)>>;

/// Plays the part if the arguments of the program say so; false if they do not.
bool play_part(int argc, char** argv, const CrewParts& parts, int& exit_code);

/// The side of who measures. All members die with it. What fails throws, with the member's reason.
class Crew {
 public:
  Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;
  ~Crew();

  CrewBoard& board() const { return *board_; }
  CrewRecord& record(std::size_t index) const { return board_->members[index]; }
  std::vector<pid_t> pids() const;

  /// Starts one process; its index.
  std::size_t add(const std::string& part, const std::vector<std::string>& arguments);
  /// Everybody goes into the next phase, and this returns when all have finished it.
  void step(double limit_seconds);
  /// Throws if anybody has failed.
  void check();
  /// Starts one more process and waits until it has ended by itself; its record, valid until the
  /// next call.
  const CrewRecord& call(const std::string& part, const std::vector<std::string>& arguments,
                         double limit_seconds);
  /// Waits until all have left by themselves.
  void join(double limit_seconds);

 private:
  pid_t start(std::size_t index, const std::string& part,
              const std::vector<std::string>& arguments);
  [[noreturn]] void throw_ended(std::size_t index, int status) const;

  int fd_ = -1;
  CrewBoard* board_ = nullptr;
  std::vector<pid_t> pids_;  // 0: has left
};

}  // namespace sluice::bench
