// Counts what a thread allocates and which mutexes it takes. counting.cpp replaces operator new and
// pthread_mutex_lock for the whole program.
#pragma once

#include <cstdint>

#include "tests/support/sanitized.hpp"

namespace sluice::test {

extern thread_local std::uint64_t allocations;
extern thread_local std::uint64_t mutexes;
/// The so many-th allocation of this thread from now fails, once; 0: none.
extern thread_local std::uint64_t fail_in;

}  // namespace sluice::test
