// The broker's log.
#pragma once

#include <string>
#include <string_view>

#include "daemons/common/log.hpp"

namespace sluice::broker {

using daemon::log_debug;
using daemon::log_error;
using daemon::log_info;
using daemon::log_warning;
using daemon::set_up_log;

/// Who was let in, attached to what, refused what: `what` is one word, `text` the particulars.
inline void audit(std::string_view what, const std::string& text) {
  log_info(std::string(what) + ": " + text);
}

}  // namespace sluice::broker
