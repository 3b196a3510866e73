#include "daemons/sluiced/session_state.hpp"

#include <algorithm>

namespace sluice::broker {

void SessionState::started(std::uint64_t now_ns) noexcept { hello_until_ns_ = now_ns + kHelloNs; }

SessionState::Then SessionState::received(bool in_pace, bool wants_answer,
                                          std::uint64_t now_ns) noexcept {
  if (stage_ == Stage::over) return Then::nothing;
  if (!in_pace) {
    if (reads()) paused_until_ns_ = now_ns + kPauseNs;
    if (wants_answer) return Then::refuse;
  }
  return stage_ == Stage::hello ? Then::greet : Then::serve;
}

void SessionState::welcomed() noexcept {
  if (stage_ != Stage::hello) return;
  stage_ = Stage::open;
  hello_until_ns_ = shm::kNever;
}

bool SessionState::ended() noexcept {
  if (stage_ == Stage::over) return false;
  stage_ = Stage::over;
  hello_until_ns_ = paused_until_ns_ = shm::kNever;
  return true;
}

bool SessionState::reads() const noexcept {
  return stage_ != Stage::over && paused_until_ns_ == shm::kNever;
}

std::uint64_t SessionState::due_ns() const noexcept {
  return std::min(hello_until_ns_, paused_until_ns_);
}

SessionState::Then SessionState::time_passed(std::uint64_t now_ns) noexcept {
  if (now_ns >= hello_until_ns_) return Then::close_silent;
  if (now_ns < paused_until_ns_) return Then::nothing;
  paused_until_ns_ = shm::kNever;
  return Then::read_on;
}

}  // namespace sluice::broker
