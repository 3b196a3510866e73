// Named places at which the process tests kill this process, to show that nobody else minds.
// They exist only in builds with SLUICE_KILL_POINTS; elsewhere they are nothing.
#pragma once

#if defined(SLUICE_KILL_POINTS)
namespace sluice::shm {
/// Raises SIGKILL when this is the point (and the visit) that SLUICE_KILL_AT="name[:visit]" names.
/// With SLUICE_KILL_LIST=FILE appends each name when it is reached for the first time.
void kill_point(const char* name) noexcept;
}  // namespace sluice::shm
#define SLUICE_KILL_POINT(name) ::sluice::shm::kill_point(name)
#else
#define SLUICE_KILL_POINT(name) static_cast<void>(0)
#endif
