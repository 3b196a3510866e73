// A subscription for the tool, and what the monitor knows about the streams it sees.
#pragma once

#include "sluice/node.hpp"
#include "tools/sluice/session.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace sluice::tools {

class Listener {
 public:
  /// Subscribes to `filter`. `refused` and others as Node::subscribe.
  static Result<Listener> create(const Reach& reach, const std::string& verb,
                                 const std::string& filter, const SubscriptionOptions& options);

  /// The next message; an empty sample when there was none until the deadline, on an interrupt, or
  /// (Outcome::evicted, not_allowed) when there will be none.
  Sample next(Deadline deadline);

  /// The type's name of the stream that a message came by; empty for none.
  const std::string& type_of(const Sample& sample);
  [[nodiscard]] std::string topic_of(const Sample& sample) const;

  /// Why nothing comes: nobody publishes, or what is there does not fit, in a sentence.
  [[nodiscard]] std::string why_nothing() const;

  [[nodiscard]] Subscriber& subscriber() { return *subscriber_; }

 private:
  std::string filter_;
  std::optional<Node> node_;
  std::optional<Monitor> monitor_;
  std::optional<Subscriber> subscriber_;
  std::map<std::uint64_t, std::string> types_;
};

}  // namespace sluice::tools
