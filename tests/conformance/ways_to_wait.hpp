// The ways in which a reader can wait for a message, behind one interface.
#pragma once

#include "shm/reader.hpp"
#include "tests/support/local_link.hpp"

#include <cstdint>
#include <memory>

namespace sluice::test {

enum class WaitKind : std::uint8_t {
  spin,   ///< Looks again and again.
  futex,  ///< Reader::wait without spinning first.
  waitv,  ///< A WaitSet that sleeps in futex_waitv.
  event,  ///< A WaitSet that sleeps on its eventfd, since it has too many readers for futex_waitv.
  poll,   ///< A foreign event loop on the WaitSet's descriptor.
};

const char* name_of(WaitKind kind);

/// Bound to one thread. Attach through it, then wait with it; it must go before its readers.
class Waiter {
 public:
  virtual ~Waiter() = default;
  virtual shm::ReaderPtr attach(LocalLink& link, const SubscriptionOptions& options) = 0;
  /// ok when the reader is ready or over, timeout at the deadline.
  virtual Outcome wait(shm::Reader& reader, std::uint64_t deadline_ns) = 0;
};

/// Null when this kernel cannot wait in this way.
std::unique_ptr<Waiter> make_waiter(WaitKind kind);

}  // namespace sluice::test
