// splitmix64 (Steele, Lea, Flood 2014): spreads what differs in few bits over all of them, and
// makes numbers by chance where nobody must be kept from guessing them: jitter, hashes, seeds.
#pragma once

#include <cstdint>

namespace sluice::splitmix {

/// The output function alone: one to one.
constexpr std::uint64_t mix(std::uint64_t z) noexcept {
  z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
  z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
  return z ^ z >> 31;
}

/// The next number of a generator, whose state is one word, any.
constexpr std::uint64_t next(std::uint64_t& state) noexcept {
  return mix(state += 0x9e37'79b9'7f4a'7c15);
}

/// The same as a number in [0, 1).
constexpr double next_chance(std::uint64_t& state) noexcept {
  return static_cast<double>(next(state) >> 11) * 0x1p-53;
}

}  // namespace sluice::splitmix
