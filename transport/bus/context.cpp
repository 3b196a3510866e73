// The innermost ScopedContext of a thread; each remembers the one outside of it.
//
// Here a tracestate becomes what may be passed on, so that whoever sends within the scope can take
// it as it is.
#include "sluice/context.hpp"

#include "transport/bus/envelope_writer.hpp"

#include <cassert>

namespace sluice {
namespace {

// Initial-exec: in a shared library the general model would call a function for each access.
[[gnu::tls_model("initial-exec")]] constinit thread_local const Context* innermost = nullptr;

}  // namespace

const Context& current_context() noexcept {
  static const Context none;
  return innermost != nullptr ? *innermost : none;
}

ScopedContext::ScopedContext(Context context) noexcept
    : context_(std::move(context)), outer_(innermost) {
  bus::settle_tracestate(context_.trace, context_.tracestate);
  innermost = &context_;
}

ScopedContext::~ScopedContext() {
  assert(innermost == &context_);
  innermost = outer_;
}

}  // namespace sluice
