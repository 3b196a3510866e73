// Payloads that show when a single byte of them is another's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace sluice::test {

/// Of message `serial` of stream `salt`: no two share a word.
constexpr std::uint64_t pattern_word(std::uint64_t salt, std::uint64_t serial, std::size_t at) {
  return (serial * 0x9e37'79b9'7f4a'7c15u) ^ (salt << 56) ^ at;
}

inline void fill_pattern(std::span<std::byte> payload, std::uint64_t salt, std::uint64_t serial) {
  for (std::size_t at = 0; at + 8 <= payload.size(); at += 8) {
    const std::uint64_t word = pattern_word(salt, serial, at);
    std::memcpy(payload.data() + at, &word, sizeof word);
  }
}

inline bool has_pattern(std::span<const std::byte> payload, std::uint64_t salt,
                        std::uint64_t serial) {
  for (std::size_t at = 0; at + 8 <= payload.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, payload.data() + at, sizeof word);
    if (word != pattern_word(salt, serial, at)) return false;
  }
  return true;
}

}  // namespace sluice::test
