// Two kinds of "no".
//
// An Outcome is something that happens in a healthy system and that the direct caller handles: no
// slot is free, nothing has arrived, the deadline passed. It is a plain enumerator; returning one
// allocates nothing. An Error is a failure of the environment or a refusal: it travels up unchanged
// in a Result and is reported once; its message names the thing and the remedy. A bug in the
// calling program is an assertion, neither of the two.
#pragma once

#include "sluice/export.hpp"

#include <cassert>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace sluice {

/// What became of an operation on the frame path.
enum class Outcome : std::uint8_t {
  ok,
  empty,    ///< Nothing to take now.
  timeout,  ///< The deadline passed first.
  no_slot,  ///< Every slot that fits is loaned or held by readers.
  no_loan,  ///< The publisher already has `max_loans` loans outstanding.
  full,     ///< A reliable reader has not acknowledged and `on_full` is `fail` (or its wait ended).
  quota,    ///< This subscription already holds `max_held` samples; release one first.
  evicted,  ///< The publisher has evicted this subscription; attach again.
  ended,    ///< The publisher has ended the stream (or died) and everything is drained.
  expired,  ///< The reference is stale: the frame it names is gone.
  too_large,      ///< No pool of the stream has slots of this size.
  no_memory,      ///< The system could not commit the memory of a slot that was never used before.
  interrupted,    ///< Another thread ended the wait.
  not_allowed,    ///< The broker has taken the right away.
  mismatch,       ///< The reference belongs to another stream, or the loan to another publisher.
  no_subscriber,  ///< Nobody is there to take the message.
  rate_limited,   ///< The publisher's own limit of messages per second is used up.
  rejected,       ///< Refused before it was published, or by who should handle it.
};

/// A short lower-case name of the outcome, for logs; never null.
SLUICE_EXPORT const char* to_string(Outcome outcome) noexcept;

/// What kind of failure an Error is.
enum class Errc : std::uint8_t {
  invalid_argument,  ///< The caller's options cannot be met; the message says which.
  system,            ///< A system call failed; `sys_errno` says how.
  refused,           ///< The other side says no; the message is its reason.
  untrusted,         ///< What another process handed over failed validation.
  unsupported,       ///< This kernel or build lacks the feature.
  exhausted,         ///< A limit is reached; the message names it.
};

/// A failure with a sentence that names the thing and the remedy.
struct Error {
  Errc code = Errc::invalid_argument;
  int sys_errno = 0;  ///< `errno` of the failed call, or 0.
  std::string message;
};

/// Either a value or an error; the surface of C++23's `std::expected`.
template <class T, class E = Error>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(E error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  T& value() & {
    assert(has_value());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    assert(has_value());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    assert(has_value());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  E& error() & {
    assert(!has_value());
    return *std::get_if<1>(&state_);
  }
  const E& error() const& {
    assert(!has_value());
    return *std::get_if<1>(&state_);
  }
  E&& error() && {
    assert(!has_value());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  std::variant<T, E> state_;
};

/// A Result without a value.
template <class E>
class [[nodiscard]] Result<void, E> {
 public:
  Result() = default;
  Result(E error) : error_(std::move(error)), failed_(true) {}
  [[nodiscard]] bool has_value() const noexcept { return !failed_; }
  explicit operator bool() const noexcept { return has_value(); }
  const E& error() const& {
    assert(failed_);
    return error_;
  }
  E&& error() && {
    assert(failed_);
    return std::move(error_);
  }

 private:
  E error_{};
  bool failed_ = false;
};

}  // namespace sluice
