// A world that is the same on every machine: time stands still until it is moved on, what is random
// repeats, and the process has a fixed number.
//
// The definitions stand in for those of the C library, which the linker finds after the program's
// own. Where times have 64 bits on a 32-bit machine the headers rename clock_gettime, here and for
// its callers alike.
#include "tests/abi/fixed_world.hpp"

#include <sys/random.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr std::uint64_t kBoot = 1'700'000'000'000'000'000;  // CLOCK_REALTIME at CLOCK_MONOTONIC 0

std::uint64_t now = 1'000'000'000;
unsigned char next_byte = 1;

}  // namespace

namespace sluice::abi {

void pass_ns(std::uint64_t ns) { now += ns; }
std::uint64_t time_ns() { return now; }

}  // namespace sluice::abi

extern "C" {

int clock_gettime(clockid_t clock, struct timespec* time) noexcept {
  const bool real = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  const std::uint64_t ns = real ? kBoot + now : now;
  time->tv_sec = static_cast<time_t>(ns / 1'000'000'000);
  time->tv_nsec = static_cast<long>(ns % 1'000'000'000);
  return 0;
}

ssize_t getrandom(void* bytes, size_t size, unsigned) noexcept {
  auto* out = static_cast<unsigned char*>(bytes);
  for (size_t i = 0; i < size; ++i) out[i] = next_byte++;
  return static_cast<ssize_t>(size);
}

pid_t getpid() noexcept { return 4242; }

}  // extern "C"
