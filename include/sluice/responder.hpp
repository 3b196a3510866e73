// Serving requests.
#pragma once

#include "sluice/export.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/node.hpp"
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

struct ResponderOptions {
  std::uint64_t reply_bytes = 1'024;  ///< Largest payload of a reply.
  /// Requests that one requester may have waiting here; more wait at the requester, for any worker.
  std::uint32_t credits = 4;
  std::uint32_t max_held = 64;  ///< Requests that are not answered yet, of all requesters.
  std::chrono::nanoseconds slow =
      std::chrono::milliseconds{100};  ///< Handlers that take longer are counted and logged.
  Interceptors
      interceptors{};  ///< Of requests as they are taken, of replies as they are published.
  Codec codec = Codec::bytes;
  std::uint64_t spin_ns = 20'000;
  /// Slow handlers, once a second at most, with the number left out. Called in the responder's
  /// thread; a dispatcher's own where this is empty.
  std::function<void(LogLevel, std::string_view)> log{};
};

class Responder;

/// One request. Move-only; bound to the responder's thread, and must not outlive it. Is answered
/// once, in the handler or later; one that is destroyed unanswered is answered with
/// StatusCode::internal.
class SLUICE_EXPORT Request {
 public:
  Request(Request&& other) noexcept;
  Request& operator=(Request&& other) noexcept;
  ~Request();

  [[nodiscard]] const Message& message() const noexcept { return message_; }
  [[nodiscard]] std::span<const std::byte> payload() const noexcept { return message_.payload(); }
  [[nodiscard]] std::string_view text() const noexcept { return message_.text(); }
  [[nodiscard]] Deadline deadline() const noexcept;
  /// Nobody wants the answer any more: cancelled, expired, or the requester is gone. Reads one word
  /// of the requester's memory.
  [[nodiscard]] bool cancelled() const noexcept;

  /// A slot for the answer: write it, then reply(loan). An empty loan says why.
  MessageLoan loan(std::uint64_t bytes) noexcept;
  /// What Publisher::publish says; no_subscriber when the requester is gone. Empties the request.
  /// What cannot be sent, an empty loan or more than reply_bytes, is said with its outcome, and
  /// answered with StatusCode::internal (too large) or resource_exhausted and a sentence.
  Outcome reply(MessageLoan&& loan) noexcept;
  Outcome reply(std::span<const std::byte> payload) noexcept;
  Outcome reply(std::string_view text) noexcept;
  /// Not ok: with details. Those that do not fit are left out, too_large is returned, and the
  /// sentence says so.
  Outcome reply(const Status& status, std::span<const std::byte> details = {}) noexcept;
  /// Gives it to another worker (or to this one again, if there is no other), if it is idempotent;
  /// else answers StatusCode::unavailable.
  void pass_on() noexcept;
  explicit operator bool() const noexcept { return responder_ != nullptr; }

 private:
  friend class Responder;
  Request(Responder* responder, Message&& message) noexcept
      : responder_(responder), message_(std::move(message)) {}
  [[nodiscard]] bool withdrawn() const noexcept;
  Responder* responder_ = nullptr;
  void* outlet_ = nullptr;  // where its replies go; the responder's
  Message message_;
};

/// A worker of a service. Not movable, since requests point to it: create() makes it on the heap.
/// Bound to one thread at a time but stop(); several threads serve with one each. A handler that
/// throws answers StatusCode::internal with what the exception says.
class SLUICE_EXPORT Responder {
 public:
  /// Answers, or moves the request elsewhere to answer it later.
  using Handler = std::function<void(Request&)>;
  static Result<std::unique_ptr<Responder>> create(Node& node, std::string_view service,
                                                   Handler handler, ResponderOptions options = {},
                                                   WaitSet* set = nullptr);
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;
  ~Responder();

  /// Handles requests until stop(), or until drain() is done; an error when the right was taken
  /// away.
  Result<void> run();
  /// Handles what is there, waiting for the first until the deadline; how many.
  std::size_t step(Deadline deadline);
  /// Ends run(). It still counts as a worker, and what comes waits for the next run() or step();
  /// drain() is for leaving. Any thread, and a signal handler.
  void stop() noexcept;
  /// Takes no new requests; run() ends when those that are here are answered. Any thread, and a
  /// signal handler.
  void drain() noexcept;

  [[nodiscard]] std::size_t outstanding() const noexcept;  ///< Taken and not answered.
  /// The broker has taken away the right to serve; run() returns an error then.
  [[nodiscard]] bool revoked() const noexcept;
  struct Counts {
    std::uint64_t handled = 0;
    std::uint64_t failed = 0;      ///< Answered with a status that is not ok.
    std::uint64_t cancelled = 0;   ///< Cancelled or expired before a handler saw it.
    std::uint64_t unanswered = 0;  ///< The answer could not be published.
    std::uint64_t slow = 0;
    std::uint64_t passed_on = 0;
    std::uint64_t refused = 0;  ///< Delivered again after a worker's death, though not idempotent.
    std::uint64_t forged = 0;   ///< Named another node than the one that it came from; not handled.
  };
  [[nodiscard]] const Counts& counts() const noexcept;
  [[nodiscard]] const std::string& service() const noexcept;

 private:
  friend class Request;
  struct Impl;
  explicit Responder(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
