// The snapshots for `sluice top`: connects when a broker is there, and keeps looking when none is.
#pragma once

#include "sluice/node.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace sluice::tools {

class TopFeed {
 public:
  /// `all`: also the streams by which stages report (trace/…, health/…).
  TopFeed(std::string socket, std::string filter, bool all)
      : socket_(std::move(socket)), filter_(std::move(filter)), all_(all) {}

  /// Connects and asks for everything, if it takes no longer than `patience`. `system`: none is
  /// there yet; other errors do not mend themselves.
  Result<void> connect(std::chrono::milliseconds patience);
  [[nodiscard]] bool connected() const { return monitor_.has_value(); }
  /// After connect().
  [[nodiscard]] Snapshot snapshot() const;

 private:
  std::string socket_;
  std::string filter_;
  bool all_;
  std::optional<Node> node_;
  std::optional<Monitor> monitor_;
};

/// Whether stages report on this topic about themselves.
bool is_report_topic(std::string_view topic);

}  // namespace sluice::tools
