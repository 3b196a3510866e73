// What the daemons use of libsystemd, for builds with SLUICE_SYSTEMD=OFF: nobody started us who wants to hear of us.
#pragma once

#include <cstdint>

#define SD_LISTEN_FDS_START 3

inline int sd_listen_fds(int /*unset_environment*/) { return 0; }
inline int sd_notify(int /*unset_environment*/, const char* /*state*/) { return 0; }
inline int sd_watchdog_enabled(int /*unset_environment*/, std::uint64_t* /*usec*/) { return 0; }
