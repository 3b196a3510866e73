// What the workloads write into a message and how they check it.
//
//   word 0      sequence, from 1; bit 63 marks the last message of a run
//   word 1      when it was sent, CLOCK_MONOTONIC ns (fan-out), else 0
//   word 2...   written only when the workload touches its payload: base(sequence) + index
//
// The reader adds the words up and compares with the closed form of that sum. The base is different
// for every sequence, so a message put together from two shows, and so does one that is read too
// early. Both loops are plain enough for the compiler to vectorise: the memory is measured, not the
// check.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>

namespace sluice::bench {

inline constexpr std::uint64_t kLastMessage = std::uint64_t{1} << 63;
inline constexpr std::size_t kHeaderWords = 2;

inline std::uint64_t load_word(const std::byte* message, std::size_t index) noexcept {
  std::uint64_t word;
  std::memcpy(&word, message + index * sizeof word, sizeof word);
  return word;
}

inline void store_word(std::byte* message, std::size_t index, std::uint64_t word) noexcept {
  std::memcpy(message + index * sizeof word, &word, sizeof word);
}

inline std::uint64_t pattern_base(std::uint64_t sequence) noexcept {
  return (sequence & ~kLastMessage) * 0x9E37'79B9'7F4A'7C15U;
}

inline void write_payload(std::span<std::byte> message, std::uint64_t sequence) noexcept {
  const std::uint64_t base = pattern_base(sequence);
  const std::size_t words = message.size() / sizeof(std::uint64_t);
  std::byte* const to = message.data();
  for (std::size_t i = kHeaderWords; i < words; ++i) store_word(to, i, base + i);
}

/// Reads every word; false when it is not what write_payload() wrote for `sequence`.
inline bool payload_intact(std::span<const std::byte> message, std::uint64_t sequence) noexcept {
  const std::size_t words = message.size() / sizeof(std::uint64_t);
  const std::byte* const from = message.data();
  std::array<std::uint64_t, 8>
      sums{};  // several, so that an addition need not wait for the last one
  std::size_t i = kHeaderWords;
  for (; i + sums.size() <= words; i += sums.size()) {
    for (std::size_t j = 0; j < sums.size(); ++j) sums[j] += load_word(from, i + j);
  }
  for (; i < words; ++i) sums[0] += load_word(from, i);
  const std::uint64_t sum = std::accumulate(sums.begin(), sums.end(), std::uint64_t{0});
  const std::uint64_t n = words - kHeaderWords;
  const std::uint64_t indices = n * (n - 1) / 2 + kHeaderWords * n;
  return sum == n * pattern_base(sequence) + indices;
}

}  // namespace sluice::bench
