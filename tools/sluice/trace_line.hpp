// What `sluice traceparent --stdin` answers to a line.
#pragma once

#include <string>
#include <string_view>

namespace sluice::tools {

struct TraceLine {
  bool valid = false;  ///< Both headers, where there are two.
  std::string json;    ///< One object, without a line feed.
};

/// The line is a traceparent, or traceparent, tab, tracestate.
TraceLine read_trace_line(std::string_view line);

}  // namespace sluice::tools
