// A Loan: a slot of the publisher's own memory to write the next message into.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "sluice/export.hpp"
#include "sluice/message.hpp"
#include "sluice/result.hpp"
#include "sluice/sample.hpp"

namespace sluice {

namespace shm {
class Publisher;
}
class Publisher;

/// Writable memory for one message. Move-only; a moved-from or published loan is empty; one that is
/// destroyed unpublished gives its slot back. Bound to the publisher's thread. May outlive the
/// publisher, but can then no longer be published.
class SLUICE_EXPORT Loan {
 public:
  Loan() = default;
  explicit Loan(Outcome why) noexcept : outcome_(why) {}
  Loan(Loan&& other) noexcept { take_over(other); }
  Loan& operator=(Loan&& other) noexcept {
    if (this != &other) {
      if (publisher_ != nullptr) give_back();
      take_over(other);
    }
    return *this;
  }
  ~Loan() {
    if (publisher_ != nullptr) give_back();
  }

  explicit operator bool() const noexcept { return publisher_ != nullptr; }
  /// Why this loan is empty.
  [[nodiscard]] Outcome outcome() const noexcept { return outcome_; }

  /// Null for a loan from Publisher::lend, whose payload lies elsewhere and is written already.
  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::span<std::byte> bytes() const noexcept {
    return {data_, data_ != nullptr ? static_cast<std::size_t>(size_) : 0};
  }
  /// Changes how many bytes are published; false (and no change) beyond capacity(), of what was
  /// lent, and after set_user_header().
  bool resize(std::uint64_t bytes) noexcept {
    if (bytes > capacity_ || contents_ != 0) return false;
    size_ = bytes;
    return true;
  }

  /// Holds `sample` for as long as this message exists, so that whoever takes this message can
  /// resolve the reference to the same bytes. `full` when the stream's max_references are used up
  /// (the sample is then left as it was), `empty` when either is empty.
  Outcome attach(Sample&& sample) noexcept;

  /// Bytes beside the payload, for Sample::user_header: what a program says about its payload
  /// without changing it. They take user_header_bytes() of the loan's capacity, so ask for as much
  /// more and resize() before. Once; false (and no change) where they do not fit, or a second time.
  bool set_user_header(std::span<const std::byte> header) noexcept;

  /// What is said about the message; set it before publishing.
  Headers headers;

 private:
  friend class shm::Publisher;
  friend class Publisher;
  void give_back() noexcept;
  void take_over(Loan& other) noexcept {
    publisher_ = other.publisher_;
    outcome_ = other.outcome_;
    if (publisher_ == nullptr) return;
    headers = other.headers;
    data_ = other.data_;
    size_ = other.size_;
    capacity_ = other.capacity_;
    slot_ = other.slot_;
    lane_ = other.lane_;
    contents_ = other.contents_;
    other.clear();
  }
  void clear() noexcept {
    publisher_ = nullptr;
    data_ = nullptr;
    size_ = 0;
    capacity_ = 0;
    contents_ = 0;
    outcome_ = Outcome::empty;
  }

  shm::Publisher* publisher_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
  std::uint64_t capacity_ = 0;
  std::uint32_t slot_ = 0;
  std::uint32_t lane_ = 0;
  Outcome outcome_ = Outcome::empty;
  std::uint8_t contents_ = 0;  // of the slot, beside a payload: the entry's flags for it
};

/// What a user header of `bytes` takes of a loan's capacity, behind `payload_bytes`.
constexpr std::uint64_t user_header_bytes(std::uint64_t payload_bytes,
                                          std::uint64_t bytes) noexcept {
  return (8 - payload_bytes % 8) % 8 + 8 + bytes;
}

}  // namespace sluice
