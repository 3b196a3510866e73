#include "daemons/iceoryx/pulse.hpp"

#include "daemons/iceoryx/worker_process.hpp"

#include <time.h>
#include <unistd.h>

#include <chrono>

namespace sluice::iceoryx {
namespace {

constexpr std::chrono::milliseconds kInterval{100};
// Less than RouDi's patience by what iceoryx's last sign of life can be old.
constexpr std::int64_t kLongestNs = 1'100'000'000;

// Goes on while the machine is suspended.
std::int64_t boot_time_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

Pulse::Pulse()
    : last_ns_(boot_time_ns()), thread_([this] {
        while (!end_) {
          std::this_thread::sleep_for(kInterval);
          // Without destructors: they would call iceoryx.
          if (has_stopped()) ::_exit(kWorkerOrphaned);
          last_ns_ = boot_time_ns();
        }
      }) {}

Pulse::~Pulse() {
  end_ = true;
  thread_.join();
}

bool Pulse::has_stopped() const noexcept { return boot_time_ns() - last_ns_ > kLongestNs; }

}  // namespace sluice::iceoryx
