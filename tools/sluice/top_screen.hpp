// `sluice top` on a terminal.
#pragma once

#include "tools/sluice/top_feed.hpp"
#include "tools/sluice/top_view.hpp"

#include <cstdint>

namespace sluice::tools {

struct TopOptions {
  std::string socket;
  std::string filter = "#";
  bool all = false;
  double interval_s = 1;
  double window_s = 2;
  SortKey sort = SortKey::name;
  bool reversed = false;
  bool wait = true;
  bool batch = false;
  bool json = false;
  std::uint64_t count = 0;  ///< 0: until it is interrupted.
  std::size_t columns = 0;  ///< 0: the terminal's.
};

/// Until somebody quits; the exit code. The terminal is then as it was.
int run_top_screen(const TopOptions& options, TopFeed& feed);

}  // namespace sluice::tools
