// The library's version. The shared layout has a version of its own; see docs/shm_format.md.
#pragma once

#define SLUICE_VERSION_MAJOR 0
#define SLUICE_VERSION_MINOR 1
#define SLUICE_VERSION_PATCH 0

#define SLUICE_VERSION_STRING "0.1.0"

namespace sluice {
inline constexpr int kVersionMajor = SLUICE_VERSION_MAJOR;
inline constexpr int kVersionMinor = SLUICE_VERSION_MINOR;
inline constexpr int kVersionPatch = SLUICE_VERSION_PATCH;
}  // namespace sluice
