// Whether RouDi, iceoryx's daemon, is there, asked without its library: that would wait for it, or
// end the process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sluice::iceoryx {

/// Tells one run of RouDi from another.
struct Roudi {
  std::uint64_t socket_inode = 0;
  std::uint64_t memory_inode = 0;
  friend bool operator==(const Roudi&, const Roudi&) = default;
};

/// Of the RouDi that answers now; nothing: none does. Sends it nothing.
std::optional<Roudi> find_roudi(const std::string& socket = "/tmp/roudi",
                                const std::string& memory = "/dev/shm/iceoryx_mgmt");

}  // namespace sluice::iceoryx
