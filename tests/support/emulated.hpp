// Whether this program runs emulated (docs/cross_compiling.md): some ten times slower, without some
// system calls, and of a size that says nothing.
#pragma once

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

}  // namespace sluice::test
