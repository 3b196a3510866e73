// Asking a service.
//
// A service is a name like a topic. Whoever serves it is a member of one group; the requester's
// stream gives each request to the member that has least to do, and gives it to another one when
// that member dies before it answered. Topics: `$request/<service>` and `$reply/<service>/<node
// id>/<id of the stream of requests>`.
#pragma once

#include "sluice/breaker.hpp"
#include "sluice/export.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/node.hpp"
#include "sluice/retry.hpp"
#include "sluice/status.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

struct RequesterOptions {
  std::uint64_t request_bytes = 1'024;  ///< Largest payload of a request.
  /// Outstanding at the same time, 1 to 4,096. A reply whose message is kept counts as one: it lies
  /// in the worker's memory until its Reply ends.
  std::uint32_t max_calls = 64;
  std::chrono::nanoseconds timeout = std::chrono::seconds{5};  ///< Of calls that bring none.
  /// Of calls that are idempotent and ended with a status that is retryable().
  RetryOptions retry{};
  bool use_breaker = false;
  BreakerOptions breaker{};
  std::string fallback_service{};  ///< Is asked instead where nobody serves this one.
  Interceptors
      interceptors{};  ///< Of requests as they are published, of replies as they are taken.
  Codec codec = Codec::bytes;
  std::uint64_t spin_ns = 20'000;  ///< As SubscriptionOptions::spin_ns.
};

struct CallOptions {
  /// The context's deadline holds as well, whichever is earlier; max(): RequesterOptions::timeout
  /// from now.
  Deadline deadline = Deadline::max();
  /// May be handled more than once: is given to another worker when one dies, and retried.
  bool idempotent = false;
  Priority priority = Priority::normal;
};

/// The answer to one call. Where `status` is not ok the message may carry details, or be empty.
struct Reply {
  Status status{StatusCode::unknown};
  Message message;
  explicit operator bool() const noexcept { return status.ok(); }
  [[nodiscard]] std::span<const std::byte> payload() const noexcept {
    return message ? message.payload() : std::span<const std::byte>{};
  }
  [[nodiscard]] std::string_view text() const noexcept {
    return message ? message.text() : std::string_view{};
  }
};

class Requester;

/// A call that is under way. Move-only; bound to its requester's thread, and must not outlive it.
/// One that is destroyed unanswered is cancelled.
class SLUICE_EXPORT Call {
 public:
  Call() = default;
  Call(Call&& other) noexcept;
  Call& operator=(Call&& other) noexcept;
  ~Call();
  explicit operator bool() const noexcept { return requester_ != nullptr; }

  /// Whether the answer is there; takes in what has arrived.
  [[nodiscard]] bool ready() noexcept;
  /// Waits; whether the answer is there. The call itself ends at its own deadline.
  bool wait(Deadline deadline) noexcept;
  /// The answer, waiting for it if need be; empties the call.
  Reply get() noexcept;
  /// Tells the worker that nobody wants the answer any more (Request::cancelled), and empties the
  /// call.
  void cancel() noexcept;

 private:
  friend class Requester;
  Call(Requester* requester, std::uint64_t number) noexcept
      : requester_(requester), number_(number) {}
  Requester* requester_ = nullptr;
  std::uint64_t number_ = 0;
};

/// Not movable, since calls point to it: create() makes it on the heap. Bound to one thread at a
/// time; several threads use one each.
class SLUICE_EXPORT Requester {
 public:
  static Result<std::unique_ptr<Requester>> create(Node& node, std::string_view service,
                                                   RequesterOptions options = {});
  Requester(const Requester&) = delete;
  Requester& operator=(const Requester&) = delete;
  ~Requester();

  /// Asks and waits. Statuses that this side gives: unavailable (nobody serves it, or only workers
  /// that drain: at once; the worker died, and the call was not idempotent or nobody else serves;
  /// the breaker is open), deadline_exceeded, resource_exhausted (max_calls; no room at the
  /// workers), invalid_argument (too large), aborted (too many hops), failed_precondition (an
  /// interceptor), permission_denied. A sentence that begins with "nobody serves" says that the
  /// request was never sent.
  Reply call(std::span<const std::byte> request, const CallOptions& options = {}) noexcept;
  Reply call(std::string_view request, const CallOptions& options = {}) noexcept;

  /// Asks. The call is never empty; what could not be asked has its answer already. Blocks, until
  /// the call's deadline at most, while the workers are behind or the only one is just attaching.
  Call start(std::span<const std::byte> request, const CallOptions& options = {}) noexcept;
  /// The same, without copying: write into loan().bytes() first. Not retried by the requester. Give
  /// the same options to both.
  MessageLoan loan(std::uint64_t request_bytes, const CallOptions& options = {}) noexcept;
  Call start(MessageLoan&& loan, const CallOptions& options = {}) noexcept;
  /// `answered` is called in step() and nowhere else, also where the answer has come before. What
  /// it throws comes out of step(), and what else is to be called back waits for the next one.
  void start(std::span<const std::byte> request, const CallOptions& options,
             std::function<void(Reply)> answered);

  /// Takes in what has arrived, calls back, waiting for the first until the deadline; how many
  /// calls were answered.
  std::size_t step(Deadline deadline);
  /// Ends a step() or Call::wait() that is under way, or the next one, within 10 ms. Any thread.
  void interrupt() noexcept;
  [[nodiscard]] std::size_t outstanding() const noexcept;

  /// Members of the service's group that are attached now, and what they say of themselves is in
  /// Monitor.
  [[nodiscard]] std::size_t worker_count() const noexcept;
  /// Whether one is attached that does not drain, or is about to be by the broker's word.
  [[nodiscard]] bool is_served() const noexcept;
  [[nodiscard]] CircuitBreaker& breaker() noexcept;
  struct Counts {
    std::uint64_t calls = 0;
    std::uint64_t ok = 0;
    std::uint64_t failed = 0;
    std::uint64_t retried = 0;
    std::uint64_t cancelled = 0;
    std::uint64_t late = 0;     ///< Replies that came after their call had ended.
    std::uint64_t refused = 0;  ///< By the breaker.
  };
  [[nodiscard]] const Counts& counts() const noexcept;
  [[nodiscard]] const std::string& service() const noexcept;

 private:
  friend class Call;
  struct Impl;
  explicit Requester(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
