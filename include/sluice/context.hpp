// What belongs to the message that a thread is handling, and is carried on by what it sends
// meanwhile.
#pragma once

#include "sluice/export.hpp"
#include "sluice/message.hpp"
#include "sluice/trace_context.hpp"

#include <cstdint>
#include <string>
#include <utility>

namespace sluice {

/// A value; copying allocates only where there is a tracestate.
struct Context {
  CorrelationId correlation;
  TraceContext trace;
  std::string tracestate;         ///< What may be passed on of it, once it is a thread's.
  std::uint64_t origin_ns = 0;    ///< As Headers::origin_ns.
  std::uint64_t deadline_ns = 0;  ///< CLOCK_MONOTONIC; 0: none. Calls made meanwhile end by then.
  std::uint8_t hops = 0;          ///< Messages from the first one to this.
};

/// This thread's; all zero outside of handlers.
SLUICE_EXPORT const Context& current_context() noexcept;

/// Makes a context this thread's until it is destroyed, in reverse order of creation. Handlers have
/// one already; for another thread copy current_context() and make one there. Of its tracestate it
/// keeps what TraceState::print() gives; nothing where that is wrong or there is no valid trace.
class SLUICE_EXPORT ScopedContext {
 public:
  explicit ScopedContext(Context context) noexcept;
  ScopedContext(const ScopedContext&) = delete;
  ScopedContext& operator=(const ScopedContext&) = delete;
  ~ScopedContext();

 private:
  Context context_;
  const Context* outer_;
};

/// A callable that runs `function` within the context of the thread that made it.
template <class Function>
auto with_current_context(Function function) {
  return
      [context = current_context(), function = std::move(function)](auto&&... arguments) mutable {
        const ScopedContext scope{context};
        return function(std::forward<decltype(arguments)>(arguments)...);
      };
}

}  // namespace sluice
