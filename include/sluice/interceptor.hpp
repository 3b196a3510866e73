// Looks at every message of a publisher or subscriber: to enrich it, to check it, to log it.
#pragma once

#include "sluice/envelope.hpp"
#include "sluice/export.hpp"
#include "sluice/message.hpp"
#include "sluice/result.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace sluice {

/// A message on its way, before it is published or after it was taken. Id, kind, codec, hops,
/// attempt, call and sizes stay as they are, whatever an interceptor does to them. After it was
/// taken `headers` is a copy for the chain: the receiver's MessageInfo stays as it came.
struct Intercepted {
  std::string_view topic;
  Envelope& envelope;
  Headers& headers;
  std::span<const std::byte> payload;
};

/// Called in the publisher's or subscriber's thread, in the order of the chain when publishing, in
/// reverse when taking. Must neither block nor throw. One object may be in many chains.
class SLUICE_EXPORT Interceptor {
 public:
  virtual ~Interceptor() = default;
  /// Outcome::ok goes on; any other one ends the chain: the message is not published, and publish()
  /// returns it.
  virtual Outcome publishing(Intercepted& message);
  /// Outcome::ok goes on; any other one: the message is dropped (acknowledged, and counted as
  /// rejected).
  virtual Outcome taken(Intercepted& message);
};
using Interceptors = std::vector<std::shared_ptr<Interceptor>>;

}  // namespace sluice
