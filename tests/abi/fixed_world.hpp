// See fixed_world.cpp.
#pragma once

#include <cstdint>

namespace sluice::abi {

void pass_ns(std::uint64_t ns);
std::uint64_t time_ns();  // CLOCK_MONOTONIC

}  // namespace sluice::abi
