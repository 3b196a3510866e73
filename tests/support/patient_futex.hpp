// Sleeps that only a wake-up ends.
//
// A reader looks again every 100 ms and a publisher that waits for room every 10 ms, whatever
// happens. That heals a lost wake-up, and so hides it. A program that links patient_futex.cpp with
// kPatientFutexOptions (see tests/stress/CMakeLists.txt) sleeps half a minute instead: there a lost
// wake-up becomes a timeout of the whole wait.
#pragma once

#include <cstdint>

namespace sluice::test {

/// How many sleeps were made longer; not 0 shows that the linker options are in place.
std::uint64_t patient_sleeps();

}  // namespace sluice::test
