#include "sluice/interceptor.hpp"

namespace sluice {

Outcome Interceptor::publishing(Intercepted& /*message*/) { return Outcome::ok; }
Outcome Interceptor::taken(Intercepted& /*message*/) { return Outcome::ok; }

}  // namespace sluice
