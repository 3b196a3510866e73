// Whose stream a message came from, by the broker's word.
#pragma once

#include "daemons/recorder/record.hpp"
#include "sluice/node.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

namespace sluice::recorder {

/// Bound to one thread.
class Identities {
 public:
  /// Without the right to monitor nothing is known, and records are without names.
  explicit Identities(Node& node);
  /// Fills in name, pid and uid of the node that the stream belongs to.
  void name(std::uint64_t stream_id, Record& record);

 private:
  struct Owner {
    std::string node;
    std::int64_t pid = -1;
    std::int64_t uid = -1;
  };
  void meet(std::uint64_t stream_id);
  void look();

  std::optional<Monitor> monitor_;
  std::unordered_map<std::uint64_t, Owner> owners_;
  std::unordered_map<std::uint64_t, Deadline> next_look_;  ///< For streams that were not found.
};

}  // namespace sluice::recorder
