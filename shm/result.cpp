#include "sluice/result.hpp"

namespace sluice {

const char* to_string(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::ok: return "ok";
    case Outcome::empty: return "empty";
    case Outcome::timeout: return "timeout";
    case Outcome::no_slot: return "no_slot";
    case Outcome::no_loan: return "no_loan";
    case Outcome::full: return "full";
    case Outcome::quota: return "quota";
    case Outcome::evicted: return "evicted";
    case Outcome::ended: return "ended";
    case Outcome::expired: return "expired";
    case Outcome::too_large: return "too_large";
    case Outcome::no_memory: return "no_memory";
    case Outcome::interrupted: return "interrupted";
    case Outcome::not_allowed: return "not_allowed";
    case Outcome::mismatch: return "mismatch";
    case Outcome::no_subscriber: return "no_subscriber";
    case Outcome::rate_limited: return "rate_limited";
    case Outcome::rejected: return "rejected";
  }
  return "unknown";
}

}  // namespace sluice
