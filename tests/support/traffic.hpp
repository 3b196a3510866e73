// Messages whose every byte follows from their number, so that a wrong payload shows.
//
// Written and read as ordinary memory: that is what ThreadSanitizer watches.
#pragma once

#include "shm/clock.hpp"
#include "shm/publisher.hpp"
#include "shm/reader.hpp"

#include <cstdint>
#include <cstring>
#include <vector>

namespace sluice::test {

inline std::uint64_t word_of(std::uint64_t number, std::uint64_t index) {
  return number * 0x9e37'79b9'7f4a'7c15u + index * 0x0101'0101'0101u;
}

/// `bytes` is at least 8; what is left over at the end is filled with one byte value.
inline void write_number(std::byte* data, std::uint64_t bytes, std::uint64_t number) {
  std::memcpy(data, &number, sizeof number);
  const auto size = static_cast<std::size_t>(bytes);
  std::size_t at = sizeof number;
  for (std::uint64_t i = 1; size - at >= 8; ++i, at += 8) {
    const std::uint64_t word = word_of(number, i);
    std::memcpy(data + at, &word, sizeof word);
  }
  for (; at < size; ++at) data[at] = static_cast<std::byte>(number);
}

/// Whether the whole payload belongs to one message, which is then in `number`.
inline bool read_number(const std::byte* data, std::uint64_t bytes, std::uint64_t& number) {
  if (bytes < sizeof number) return false;
  std::memcpy(&number, data, sizeof number);
  const auto size = static_cast<std::size_t>(bytes);
  std::size_t at = sizeof number;
  for (std::uint64_t i = 1; size - at >= 8; ++i, at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data + at, sizeof word);
    if (word != word_of(number, i)) return false;
  }
  for (; at < size; ++at) {
    if (data[at] != static_cast<std::byte>(number)) return false;
  }
  return true;
}

/// The number of an intact message, or a value that no test publishes.
inline constexpr std::uint64_t kBroken = UINT64_MAX;
inline std::uint64_t number_of(const Sample& sample) {
  std::uint64_t number = kBroken;
  return sample && read_number(sample.data(), sample.size(), number) ? number : kBroken;
}

inline Outcome publish_number(shm::Publisher& publisher, std::uint64_t number,
                              std::uint64_t bytes = 64, Priority priority = Priority::critical) {
  Loan loan = publisher.loan(bytes, priority);
  if (!loan) return loan.outcome();
  write_number(loan.data(), bytes, number);
  return publisher.publish(std::move(loan));
}

/// Takes and releases (and acknowledges) until there is nothing; the numbers in order.
inline std::vector<std::uint64_t> drain(shm::Reader& reader) {
  std::vector<std::uint64_t> numbers;
  while (Sample sample = reader.take()) {
    numbers.push_back(number_of(sample));
    reader.acknowledge(sample);
  }
  return numbers;
}

inline std::uint64_t value(const shm::Word64& word) {
  return word.load(std::memory_order_relaxed);  // relaxed: a counter
}
inline std::uint64_t lost(const shm::Reader& reader, shm::LossCause cause) {
  return value(reader.counters().lost[static_cast<std::size_t>(cause)]);
}
inline std::uint64_t lost(const shm::Reader& reader) {
  std::uint64_t total = 0;
  for (const shm::Word64& word : reader.counters().lost) total += value(word);
  return total;
}
inline std::uint64_t taken(const shm::Reader& reader) { return value(reader.counters().taken); }

/// One lane, one pool of 64-byte slots.
inline StreamOptions small_stream(std::uint32_t depth = 8) {
  StreamOptions options;
  options.lanes = {{depth, 0}};
  options.pools = {{64, 0}};
  options.full_timeout_ns = 0;
  return options;
}

inline std::uint64_t soon() { return shm::deadline_in(10'000'000'000); }

}  // namespace sluice::test
