#include "daemons/iceoryx/runtime.hpp"

#include "daemons/common/log.hpp"
#include "daemons/iceoryx/worker_process.hpp"

#include <iceoryx_hoofs/error_handling/error_handling.hpp>
#include <iceoryx_hoofs/log/logmanager.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>

#include <unistd.h>

namespace sluice::iceoryx {
namespace {

// Called in any thread, inside of functions that must not throw.
void on_error(const iox::Error error, const std::function<void()>& /*callback*/,
              const iox::ErrorLevel level) {
  const std::string sentence = std::string("iceoryx reports ") + iox::ErrorHandler::toString(error);
  if (level != iox::ErrorLevel::FATAL) return daemon::log_warning(sentence);
  daemon::log_error(sentence + ", and cannot go on");
  // No destructors: they would call iceoryx again.
  ::_exit(kIceoryxFailed);
}

iox::capro::IdString_t id_string(const std::string& id) {
  return {iox::cxx::TruncateToCapacity, id.c_str(), id.size()};
}

ServiceIds ids_of(const iox::capro::ServiceDescription& description) {
  return {description.getServiceIDString().c_str(), description.getInstanceIDString().c_str(),
          description.getEventIDString().c_str()};
}

}  // namespace

void start_runtime(const std::string& name) {
  static const auto kHandler = iox::ErrorHandler::setTemporaryErrorHandler(on_error);
  iox::log::LogManager::GetLogManager().SetDefaultLogLevel(iox::log::LogLevel::kWarn,
                                                           iox::log::LogLevelOutput::kHideLogLevel);
  iox::runtime::PoshRuntime::initRuntime(
      iox::RuntimeName_t(iox::cxx::TruncateToCapacity, name.c_str(), name.size()));
}

iox::capro::ServiceDescription description_of(const ServiceIds& ids) {
  return {id_string(ids.service), id_string(ids.instance), id_string(ids.event)};
}

std::vector<ServiceIds> services(iox::runtime::ServiceDiscovery& discovery,
                                 iox::popo::MessagingPattern pattern) {
  std::vector<ServiceIds> found;
  discovery.findService(
      iox::capro::Wildcard, iox::capro::Wildcard, iox::capro::Wildcard,
      [&](const iox::capro::ServiceDescription& description) {
        found.push_back(ids_of(description));
      },
      pattern);
  return found;
}

bool is_internal(const ServiceIds& ids) {
  return ids.service == "Introspection" || ids.service == "ServiceDiscovery";
}

}  // namespace sluice::iceoryx
