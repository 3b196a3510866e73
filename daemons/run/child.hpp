// One process that was started: its pid, its output line by line, its end.
#pragma once

#include "daemons/run/pipeline_file.hpp"
#include "shm/fd.hpp"
#include "sluice/result.hpp"

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::run {

/// How a process ended.
struct Exit {
  int status = 0;                  ///< As of waitpid.
  std::uint64_t processor_ns = 0;  ///< That it used, and the children that it waited for.
  [[nodiscard]] bool well() const noexcept { return status == 0; }
  /// "exit code 1", "signal 9 (Killed)".
  [[nodiscard]] std::string text() const;
};

/// A running process in a group of its own, which dies with the thread that started it. Destroyed
/// while it runs, it is killed. Bound to one thread, that must have no descriptors without
/// FD_CLOEXEC to hide.
class Child {
 public:
  using OnLine = std::function<void(std::string_view line)>;

  /// Starts `process.command`, whose program is a path. The error is that of the child's step that
  /// failed: no such folder, not a program.
  static Result<Child> start(const Process& process, const std::vector<std::string>& environment,
                             OnLine on_line);

  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;
  ~Child();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// Readable when the process has said something. Standard output and standard error.
  [[nodiscard]] int out() const noexcept { return out_.fd.get(); }
  [[nodiscard]] int err() const noexcept { return err_.fd.get(); }
  /// Reads what is there and hands on whole lines.
  void read_lines();
  /// The last line on standard error, readable.
  [[nodiscard]] const std::string& last_words() const noexcept { return last_words_; }

  /// To the process and all of its group.
  void signal(int number) const noexcept;
  /// Whether it has ended; kills what it left in its group, and reads the rest of its lines.
  bool reap(Exit& exit);

 private:
  struct Pipe {
    shm::UniqueFd fd;
    std::string line{};
    bool cut = false;  // the line is too long, and its rest is left out
  };
  Child() = default;
  void read_from(Pipe& pipe, bool words);
  void finish_line(Pipe& pipe, bool words);

  pid_t pid_ = -1;
  Pipe out_;
  Pipe err_;
  std::string last_words_;
  OnLine on_line_;
};

}  // namespace sluice::run
