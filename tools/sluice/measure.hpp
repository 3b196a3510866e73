// Two looks at everything, some time apart: what is there, and its rates.
#pragma once

#include "tools/sluice/session.hpp"
#include "tools/sluice/top_model.hpp"

#include <string>

namespace sluice::tools {

struct Measured {
  Snapshot snapshot;  ///< The second look.
  Table table;
};

/// What `filter` matches. Ends early, with what is there, on an interrupt.
Result<Measured> measure(const Reach& reach, const std::string& verb, const std::string& filter,
                         double seconds);

/// One look.
Result<Snapshot> look(const Reach& reach, const std::string& verb, const std::string& filter);

/// Leaves out the streams by which stages report about themselves.
void hide_reports(Snapshot& snapshot);

}  // namespace sluice::tools
