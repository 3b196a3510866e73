// Correlation ids: UUIDs of version 7 (RFC 9562, section 5.7).
//
//   48 bits  milliseconds since 1970
//    4 bits  version, 7
//   12 bits  upper part of the tail
//    2 bits  variant, 10
//   62 bits  lower part of the tail
//
// Each thread has a generator of its own, seeded by the kernel, so that nothing is shared or
// locked. A new millisecond brings a new random tail; within one the tail of 74 bits grows by a
// random step (the RFC's method 2), so that ids sort in the order they were made and still cannot
// be guessed from one to the next by accident. A clock that goes back is not followed: the last
// millisecond stays.
//
// A child after fork() would repeat its parent's ids. It is told apart by a generation, which
// pthread_atfork counts in the child.
#include "sluice/correlation.hpp"

#include "transport/correlation.hpp"
#include "transport/splitmix.hpp"

#include <pthread.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

namespace sluice {
namespace {

constexpr std::uint64_t kTailHighMask = 0xfff;
constexpr std::uint64_t kTailLowMask = (std::uint64_t{1} << 62) - 1;
constexpr std::uint64_t kMillisecondsMask = (std::uint64_t{1} << 48) - 1;

std::atomic<std::uint32_t> fork_generation{1};

// Before main(), once; without it (no memory) a child of fork() may repeat its parent's ids.
[[maybe_unused]] const int kAtFork = ::pthread_atfork(nullptr, nullptr, [] { ++fork_generation; });

std::uint64_t clock_ns(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(t.tv_nsec);
}

// The coarse clock costs a quarter of the fine one and is late by a tick of the kernel, 1 to 10 ms.
std::uint64_t milliseconds() {
  return clock_ns(CLOCK_REALTIME_COARSE) / 1'000'000u & kMillisecondsMask;
}

// xoshiro256** (Blackman, Vigna 2018): not for secrets, which ids are not.
class Generator {
 public:
  std::uint64_t word() noexcept {
    look_for_fork();
    return random();
  }

  CorrelationId next() noexcept {
    look_for_fork();
    const std::uint64_t now = milliseconds();
    if (now > last_) {
      last_ = now;
      // The upper half of the tail is left for steps, so that a millisecond is not used up.
      high_ = random() & kTailHighMask >> 1;
      low_ = random() & kTailLowMask;
    } else {
      advance();
    }
    return {last_ << 16 | std::uint64_t{7} << 12 | high_, std::uint64_t{1} << 63 | low_};
  }

 private:
  void look_for_fork() noexcept {
    // relaxed: changes in a child only, before it has a second thread
    const std::uint32_t generation = fork_generation.load(std::memory_order_relaxed);
    if (generation_ == generation) [[likely]]
      return;
    seed();
    generation_ = generation;
  }

  void advance() noexcept {
    low_ += 1 + (random() >> 32);
    if (low_ <= kTailLowMask) return;
    low_ &= kTailLowMask;
    if (++high_ <= kTailHighMask) return;
    high_ = 0;
    last_ = (last_ + 1) & kMillisecondsMask;
  }

  void seed() noexcept {
    std::size_t got = 0;
    while (got < sizeof state_) {
      const ssize_t n =
          ::getrandom(reinterpret_cast<char*>(state_.data()) + got, sizeof state_ - got, 0);
      if (n > 0) got += static_cast<std::size_t>(n);
      if (n < 0 && errno != EINTR) break;
    }
    last_ = 0;
    if (got == sizeof state_) return;
    // Where the kernel gives nothing (a sandbox): times, process and thread tell us from others.
    std::uint64_t base = clock_ns(CLOCK_REALTIME) ^ clock_ns(CLOCK_MONOTONIC) << 20 ^
                         static_cast<std::uint64_t>(::getpid()) << 40 ^
                         reinterpret_cast<std::uintptr_t>(this);
    for (std::uint64_t& word : state_) word ^= splitmix::next(base);
  }

  std::uint64_t random() noexcept {
    const auto rotate = [](std::uint64_t x, int k) { return x << k | x >> (64 - k); };
    const std::uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate(state_[3], 45);
    return result;
  }

  std::array<std::uint64_t, 4> state_{};
  std::uint64_t last_ = 0;  // milliseconds of the id made last
  std::uint64_t high_ = 0;  // the tail
  std::uint64_t low_ = 0;
  std::uint32_t generation_ = 0;
};

// Initial-exec: in a shared library the general model would call a function for each access. The 64
// bytes fit into what the loader keeps for libraries that are opened later.
[[gnu::tls_model("initial-exec")]] constinit thread_local Generator generator;

constexpr std::size_t kBytes = 16;

std::array<std::uint8_t, kBytes> bytes_of(const CorrelationId& id) {
  std::array<std::uint8_t, kBytes> bytes{};
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<std::uint8_t>(id.high >> (56 - 8 * i));
    bytes[8 + i] = static_cast<std::uint8_t>(id.low >> (56 - 8 * i));
  }
  return bytes;
}

bool dash_before(std::size_t byte) { return byte == 4 || byte == 6 || byte == 8 || byte == 10; }

// -1: not a hexadecimal digit.
int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

CorrelationId new_correlation_id() noexcept { return generator.next(); }
std::uint64_t random_word() noexcept { return generator.word(); }

std::string to_string(const CorrelationId& id) {
  constexpr char kDigits[] = "0123456789abcdef";
  const auto bytes = bytes_of(id);
  std::string text;
  text.reserve(36);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (dash_before(i)) text += '-';
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

std::optional<CorrelationId> parse_correlation_id(std::string_view text) noexcept {
  const bool dashes = text.size() == 36;
  if (!dashes && text.size() != 32) return std::nullopt;
  CorrelationId id;
  std::size_t at = 0;
  for (std::size_t i = 0; i < kBytes; ++i) {
    if (dashes && dash_before(i) && text[at++] != '-') return std::nullopt;
    const int upper = digit(text[at++]);
    const int lower = digit(text[at++]);
    if (upper < 0 || lower < 0) return std::nullopt;
    std::uint64_t& word = i < 8 ? id.high : id.low;
    word = word << 8 | static_cast<std::uint64_t>(upper << 4 | lower);
  }
  return id;
}

}  // namespace sluice
