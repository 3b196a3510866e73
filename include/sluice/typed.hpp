// Publishers and subscribers of one C++ type. Header only.
//
// The payload is the object itself, in place, so its type must be trivially copyable and contain no
// pointer that means something to one process only. A fingerprint of the type (name, size,
// alignment) travels with the stream: a subscription of another type is refused, at both ends, when
// it attaches. Whoever changes a type without changing its size gives it another name.
#pragma once

#include "sluice/node.hpp"

#include <cstdint>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sluice {

/// What can travel in place.
template <class T>
concept Plain = std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T> &&
    std::is_default_constructible_v<T> && !std::is_pointer_v<T>;

namespace detail {
// "… detail::type_name() [with T = name; …]" or "… [T = name]"
template <class T>
constexpr std::string_view type_name() noexcept {
  std::string_view text = __PRETTY_FUNCTION__;
  text.remove_prefix(text.find("T = ") + 4);
  return text.substr(0, text.find_first_of(";]"));
}
}  // namespace detail

/// The name that both ends know a type by; specialize it where compilers would not agree on one, or
/// to give a changed type a new name.
template <class T>
struct TypeName {
  static constexpr std::string_view value = detail::type_name<T>();
};

/// FNV-1a over name, size and alignment of a type; never 0.
constexpr std::uint64_t type_fingerprint(std::string_view name, std::uint64_t size,
                                         std::uint64_t alignment) noexcept {
  std::uint64_t hash = 0xcbf2'9ce4'8422'2325;
  const auto mix = [&hash](std::uint64_t byte) { hash = (hash ^ byte) * 0x0000'0100'0000'01b3; };
  for (const char c : name) mix(static_cast<unsigned char>(c));
  for (const std::uint64_t number : {size, alignment}) {
    for (unsigned shift = 0; shift < 64; shift += 8) mix(number >> shift & 0xff);
  }
  return hash != 0 ? hash : 1;
}
template <Plain T>
constexpr std::uint64_t type_fingerprint() noexcept {
  return type_fingerprint(TypeName<T>::value, sizeof(T), alignof(T));
}

/// A loan that holds a T, value-initialized.
template <Plain T>
class LoanOf {
 public:
  explicit LoanOf(Loan loan) noexcept : loan_(std::move(loan)) {
    if (loan_) value_ = ::new (loan_.data()) T{};
  }
  explicit operator bool() const noexcept { return static_cast<bool>(loan_); }
  [[nodiscard]] Outcome outcome() const noexcept { return loan_.outcome(); }
  T& operator*() const noexcept { return *value_; }
  T* operator->() const noexcept { return value_; }
  /// For headers and attachments.
  [[nodiscard]] Loan& untyped() noexcept { return loan_; }

 private:
  Loan loan_;
  T* value_ = nullptr;
};

/// A sample that holds a T. One of another size (its sender lied about the type) is empty with
/// Outcome::mismatch.
template <Plain T>
class SampleOf {
 public:
  explicit SampleOf(Sample sample) noexcept : sample_(std::move(sample)) {
    if (sample_ && sample_.size() != sizeof(T)) sample_ = Sample{Outcome::mismatch};
  }
  explicit operator bool() const noexcept { return static_cast<bool>(sample_); }
  [[nodiscard]] Outcome outcome() const noexcept { return sample_.outcome(); }
  const T& operator*() const noexcept { return *reinterpret_cast<const T*>(sample_.data()); }
  const T* operator->() const noexcept { return reinterpret_cast<const T*>(sample_.data()); }
  [[nodiscard]] const MessageInfo& info() const noexcept { return sample_.info(); }
  [[nodiscard]] Sample& untyped() noexcept { return sample_; }
  [[nodiscard]] const Sample& untyped() const noexcept { return sample_; }

 private:
  Sample sample_;
};

/// Publisher with slots for one T each.
template <Plain T>
class PublisherOf {
 public:
  /// As Node::advertise; `options.pools` and the type are filled in.
  static Result<PublisherOf> create(Node& node, std::string_view topic,
                                    StreamOptions options = {}) {
    options.pools = {{sizeof(T)}};
    options.type_hash = type_fingerprint<T>();
    options.type_name = std::string(TypeName<T>::value);
    auto publisher = node.advertise(topic, options);
    if (!publisher) return std::move(publisher).error();
    return PublisherOf{std::move(*publisher)};
  }

  LoanOf<T> loan(Priority priority = Priority::critical) noexcept {
    return LoanOf<T>{publisher_.loan(sizeof(T), priority)};
  }
  Outcome publish(LoanOf<T>&& loan) noexcept {
    return publisher_.publish(std::move(loan.untyped()));
  }
  /// Loan, copy, publish.
  Outcome publish(const T& value, Priority priority = Priority::critical) noexcept {
    LoanOf<T> slot = loan(priority);
    if (!slot) return slot.outcome();
    *slot = value;
    return publish(std::move(slot));
  }
  [[nodiscard]] Publisher& untyped() noexcept { return publisher_; }

 private:
  explicit PublisherOf(Publisher publisher) noexcept : publisher_(std::move(publisher)) {}
  Publisher publisher_;
};

/// Subscriber of one type. Streams of its topics that carry another type are refused.
template <Plain T>
class SubscriberOf {
 public:
  static Result<SubscriberOf> create(Node& node, std::string_view filter,
                                     SubscriptionOptions options = {}) {
    options.type_hash = type_fingerprint<T>();
    auto subscriber = node.subscribe(filter, options);
    if (!subscriber) return std::move(subscriber).error();
    return SubscriberOf{std::move(*subscriber)};
  }

  SampleOf<T> take() noexcept { return SampleOf<T>{subscriber_.take()}; }
  Outcome wait(Deadline deadline) noexcept { return subscriber_.wait(deadline); }
  Outcome wait_for(std::chrono::nanoseconds duration) noexcept {
    return subscriber_.wait_for(duration);
  }
  void acknowledge(SampleOf<T>&& sample) noexcept {
    subscriber_.acknowledge(std::move(sample.untyped()));
  }
  [[nodiscard]] Subscriber& untyped() noexcept { return subscriber_; }

 private:
  explicit SubscriberOf(Subscriber subscriber) noexcept : subscriber_(std::move(subscriber)) {}
  Subscriber subscriber_;
};

}  // namespace sluice
