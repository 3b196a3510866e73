// iceoryx's runtime in this process, and its names.
#pragma once

#include "daemons/iceoryx/pattern.hpp"

#include <iceoryx_posh/capro/service_description.hpp>
#include <iceoryx_posh/runtime/service_discovery.hpp>

#include <string>
#include <vector>

namespace sluice::iceoryx {

/// Registers at RouDi, once in a process's life. From then on iceoryx's fatal errors end the
/// process with kIceoryxFailed; the others are logged.
void start_runtime(const std::string& name);

/// Of strings that have at most kMaxIdBytes.
iox::capro::ServiceDescription description_of(const ServiceIds& ids);
/// All that are offered now.
std::vector<ServiceIds> services(iox::runtime::ServiceDiscovery& discovery,
                                 iox::popo::MessagingPattern pattern);
/// iceoryx's own: introspection, discovery.
bool is_internal(const ServiceIds& ids);

}  // namespace sluice::iceoryx
