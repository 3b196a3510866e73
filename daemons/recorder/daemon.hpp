// The recorder as a whole: store, subscriptions, consumers, services, a thread each.
#pragma once

#include "daemons/recorder/config.hpp"
#include "sluice/result.hpp"

namespace sluice::recorder {

/// Makes SIGTERM and SIGINT wait for run_daemon. To be called before the first thread is started.
void hold_back_signals();

/// Until SIGTERM or SIGINT. Errors: the store's folder, the broker's refusal. A broker that is not
/// there is waited for.
Result<void> run_daemon(const Config& config);

}  // namespace sluice::recorder
