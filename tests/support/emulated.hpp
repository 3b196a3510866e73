// Whether this program runs emulated (docs/cross_compiling.md): some ten times slower, without some
// system calls, and of a size that says nothing.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <string>

namespace sluice::test {

/// What a shell, or another program of this machine, is to put before a program of ours; empty
/// where nothing is needed.
inline std::string emulator() {
  const char* path = std::getenv("SLUICE_EMULATOR");
  return path != nullptr ? path : "";
}
inline bool emulated() { return !emulator().empty(); }

/// How long something is waited for that comes within `duration` on a machine that is not slow.
template <class Duration>
Duration patient(Duration duration) {
  return emulated() ? duration * 6 : duration;
}

/// Whether madvise() does anything: a kernel refuses advice that it does not know, qemu-user takes
/// any and does nothing.
inline bool heeds_advice(void* memory, std::size_t bytes) {
  return ::madvise(memory, bytes, 0x7fff) != 0;
}

}  // namespace sluice::test
