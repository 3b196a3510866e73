// A library for emulated programs: what they start is emulated as well.
//
// qemu-user hands execve() to the kernel as it is, and a kernel that was not told otherwise
// (binfmt_misc, which a container cannot set up for itself) refuses programs of another machine.
// This library, preloaded into the emulated program, puts the emulator before such a program; what
// is of the machine itself, a shell say, is started as ever.
//
// The functions of the C library that start programs call each other inside of it, where nothing
// can come between: each of them is replaced. Like those they may run between fork and exec of a
// process with threads: no allocation.
#include <climits>

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace {

constexpr std::size_t kMostArguments = 1024;
constexpr const char* kSelf = "/proc/self/exe";
#if defined(__aarch64__)
constexpr std::uint16_t kOwnMachine = EM_AARCH64;
#elif defined(__arm__)
constexpr std::uint16_t kOwnMachine = EM_ARM;
#else
#error "Which machine is it? See elf.h."
#endif

std::array<char, PATH_MAX> emulator{};

// Native programs that are started in between would complain about these.
__attribute__((constructor)) void start() {
  if (const char* path = ::getenv("SLUICE_EMULATOR")) {
    (void)std::snprintf(emulator.data(), emulator.size(), "%s", path);
  }
  ::unsetenv("LD_PRELOAD");
  ::unsetenv("LD_LIBRARY_PATH");
}

bool is_emulated(const char* path) {
  const int error = errno;
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  Elf32_Ehdr header{};  // as far as e_machine the same in ELF of 64 bits
  const bool read = fd >= 0 && ::read(fd, &header, sizeof header) == sizeof header;
  if (fd >= 0) ::close(fd);
  errno = error;
  return read && ::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_machine == kOwnMachine;
}

// What is really started for `path` and `argv`.
struct Start {
  Start(const char* wanted, char* const argv[]) : path(wanted), words(argv) {
    if (emulator[0] == '\0' || !is_emulated(wanted)) return;
    if (::strcmp(wanted, kSelf) == 0) {
      const ssize_t n = ::readlink(kSelf, own.data(), own.size() - 1);
      if (n > 0) wanted = own.data();
    }
    std::size_t n = 0;
    longer[n++] = emulator.data();
    longer[n++] = const_cast<char*>(wanted);
    for (std::size_t i = 1; argv[0] != nullptr && argv[i] != nullptr && n + 1 < longer.size();
         ++i) {
      longer[n++] = argv[i];
    }
    path = emulator.data();
    words = longer.data();
  }
  const char* path;
  char* const* words;
  std::array<char*, kMostArguments> longer{};
  std::array<char, PATH_MAX> own{};
};

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// The words of execl() and its kin; what follows them is read by the caller.
std::array<char*, kMostArguments> words_of(const char* first, va_list& rest) {
  std::array<char*, kMostArguments> words{const_cast<char*>(first)};
  for (std::size_t i = 1; i + 1 < words.size() && words[i - 1] != nullptr; ++i) {
    words[i] = va_arg(rest, char*);
  }
  return words;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int execve(const char* path, char* const argv[],
                                                  char* const envp[]) noexcept {
  static const auto real = next<decltype(execve)>("execve");
  const Start start(path, argv);
  return real(start.path, start.words, envp);
}

__attribute__((visibility("default"))) int execv(const char* path, char* const argv[]) noexcept {
  return execve(path, argv, environ);
}

__attribute__((visibility("default"))) int execvpe(const char* file, char* const argv[],
                                                   char* const envp[]) noexcept {
  if (::strchr(file, '/') != nullptr) return execve(file, argv, envp);
  static const auto real = next<decltype(execvpe)>("execvpe");  // by PATH: programs of the machine
  return real(file, argv, envp);
}

__attribute__((visibility("default"))) int execvp(const char* file, char* const argv[]) noexcept {
  return execvpe(file, argv, environ);
}

__attribute__((visibility("default"))) int execl(const char* path, const char* first,
                                                 ...) noexcept {
  va_list rest;
  va_start(rest, first);
  const auto words = words_of(first, rest);
  va_end(rest);
  return execve(path, words.data(), environ);
}

__attribute__((visibility("default"))) int execle(const char* path, const char* first,
                                                  ...) noexcept {
  va_list rest;
  va_start(rest, first);
  const auto words = words_of(first, rest);
  char** const environment = va_arg(rest, char**);
  va_end(rest);
  return execve(path, words.data(), environment);
}

__attribute__((visibility("default"))) int execlp(const char* file, const char* first,
                                                  ...) noexcept {
  va_list rest;
  va_start(rest, first);
  const auto words = words_of(first, rest);
  va_end(rest);
  return execvpe(file, words.data(), environ);
}

__attribute__((visibility("default"))) int posix_spawn(pid_t* pid, const char* path,
                                                       const posix_spawn_file_actions_t* actions,
                                                       const posix_spawnattr_t* attributes,
                                                       char* const argv[], char* const envp[]) {
  static const auto real = next<decltype(posix_spawn)>("posix_spawn");
  const Start start(path, argv);
  return real(pid, start.path, actions, attributes, start.words, envp);
}

__attribute__((visibility("default"))) int posix_spawnp(pid_t* pid, const char* file,
                                                        const posix_spawn_file_actions_t* actions,
                                                        const posix_spawnattr_t* attributes,
                                                        char* const argv[], char* const envp[]) {
  if (::strchr(file, '/') != nullptr)
    return posix_spawn(pid, file, actions, attributes, argv, envp);
  static const auto real = next<decltype(posix_spawnp)>("posix_spawnp");
  return real(pid, file, actions, attributes, argv, envp);
}

}  // extern "C"
