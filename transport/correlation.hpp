// Numbers of the generator that makes correlation ids, for what else must differ in every thread
// and process.
#pragma once

#include <cstdint>

namespace sluice {

/// Of the calling thread; a child of fork() has others. Not for secrets.
std::uint64_t random_word() noexcept;

}  // namespace sluice
