// What libFuzzer gives, read as a little program: bytes, words, and words that hurt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace sluice::fuzz {

/// A broken promise: ends the run, so that libFuzzer keeps the input.
inline void require(bool kept, const char* promise) {
  if (kept) return;
  std::fprintf(stderr, "broken: %s\n", promise);
  std::abort();
}

/// Zeros follow the last byte.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : at_(data), left_(size) {}

  [[nodiscard]] bool empty() const { return left_ == 0; }
  [[nodiscard]] std::size_t left() const { return left_; }

  std::uint8_t byte() {
    if (left_ == 0) return 0;
    --left_;
    return *at_++;
  }
  /// Below `limit`, which is at least 1.
  std::uint32_t below(std::uint32_t limit) { return (byte() | std::uint32_t{byte()} << 8) % limit; }
  std::uint64_t word() {
    std::uint64_t value = 0;
    copy(&value, sizeof value);
    return value;
  }
  void copy(void* to, std::size_t bytes) {
    const std::size_t n = bytes < left_ ? bytes : left_;
    if (n != 0) std::memcpy(to, at_, n);
    at_ += n;
    left_ -= n;
  }
  /// A value that a check could miss: near `near`, at an edge, one bit, or anything.
  std::uint64_t hostile(std::uint64_t near) {
    const std::uint8_t kind = byte();
    switch (kind % 8) {
      case 0:
        return 0;
      case 1:
        return UINT64_MAX - kind / 8;
      case 2:
        return std::uint64_t{1} << (kind / 8 * 2 % 64);
      case 3:
        return near + kind / 8;
      case 4:
        return near - kind / 8;
      case 5:
        return near | std::uint64_t{1} << 63;
      case 6:
        return byte();
      default:
        return word();
    }
  }

 private:
  const std::uint8_t* at_;
  std::size_t left_;
};

}  // namespace sluice::fuzz
