// Counts what a thread allocates and which mutexes it takes. counting.cpp replaces operator new and
// pthread_mutex_lock for the whole program.
#pragma once

#include <cstdint>

namespace sluice::test {

extern thread_local std::uint64_t allocations;
extern thread_local std::uint64_t mutexes;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;  // makes system calls, has pthread_mutex_lock for itself
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace sluice::test
