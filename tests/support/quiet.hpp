// Runs code in a child process that is killed at its first system call.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace sluice::test {

/// From now on every system call but those `allowed` (and the end of the process) gives `action`: a
/// SECCOMP_RET_ value. False where the kernel has no seccomp.
inline bool restrict_system_calls(std::initializer_list<long> listed, std::uint32_t when_listed,
                                  std::uint32_t otherwise) {
  std::vector<sock_filter> program;
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  for (const long call : listed) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, when_listed));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, otherwise));
  sock_fprog filter{};
  filter.len = static_cast<unsigned short>(program.size());
  filter.filter = program.data();
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// From now on any system call but the process's own end kills it.
inline bool forbid_system_calls() {
  return restrict_system_calls({SYS_exit, SYS_exit_group}, SECCOMP_RET_ALLOW,
                               SECCOMP_RET_KILL_PROCESS);
}

/// From now on fallocate fails as it does when memory is short.
inline bool exhaust_memory() {
  return restrict_system_calls({SYS_fallocate}, SECCOMP_RET_ERRNO | ENOMEM, SECCOMP_RET_ALLOW);
}

}  // namespace sluice::test
