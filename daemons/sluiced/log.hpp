// What the broker has to say, on standard error: lines for people, or JSON objects.
#pragma once

#include "daemons/sluiced/config.hpp"

#include <string>
#include <string_view>

namespace sluice::broker {

/// May be called again. Before the first call, and in tests, nothing is logged.
void set_up_log(const LogOptions& options);

void log_debug(const std::string& text);
void log_info(const std::string& text);
void log_warning(const std::string& text);
void log_error(const std::string& text);

/// Who was let in, attached to what, refused what: `what` is one word, `text` the particulars.
void audit(std::string_view what, const std::string& text);

}  // namespace sluice::broker
