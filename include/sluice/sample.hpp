// A Sample: one message, in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "sluice/export.hpp"
#include "sluice/message.hpp"
#include "sluice/result.hpp"

namespace sluice {

class Subscriber;
namespace shm {
class Reader;
}

/// A message that this process holds: the payload lies read-only in the publisher's memory and is
/// not overwritten while the sample lives, however long that is. Move-only; a moved-from or
/// released sample is empty. Taking is bound to the subscriber's thread; a sample may be read,
/// moved to and released in any thread, and may outlive its subscriber. Releasing neither blocks
/// nor allocates.
///
/// One thing ends the guarantee: when the publisher evicts this subscription (it held more than it
/// had asked for, or was too slow for `OnFull::evict`) the memory may be used again. Whoever must
/// know asks intact() after it has read. A payload that lies in another system's memory
/// (Publisher::lend) has that system's guarantees besides: it may write there at any time, and the
/// payload ends with the publisher.
class SLUICE_EXPORT Sample {
 public:
  Sample() = default;
  explicit Sample(Outcome why) noexcept : outcome_(why) {}
  Sample(Sample&& other) noexcept { take_over(other); }
  Sample& operator=(Sample&& other) noexcept {
    if (this != &other) {
      if (reader_ != nullptr) release();
      take_over(other);
    }
    return *this;
  }
  ~Sample() {
    if (reader_ != nullptr) release();
  }

  explicit operator bool() const noexcept { return reader_ != nullptr; }
  /// Why this sample is empty.
  [[nodiscard]] Outcome outcome() const noexcept { return outcome_; }

  [[nodiscard]] const std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return {data_, static_cast<std::size_t>(size_)};
  }
  [[nodiscard]] const MessageInfo& info() const noexcept { return info_; }
  /// What the publisher's program said beside the payload (Loan::set_user_header); mostly nothing.
  [[nodiscard]] std::span<const std::byte> user_header() const noexcept;

  /// The name of this message, valid inside other messages.
  [[nodiscard]] Reference reference() const noexcept;
  /// How many messages this one holds by Loan::attach, and their names.
  [[nodiscard]] std::uint32_t reference_count() const noexcept;
  [[nodiscard]] Reference reference_at(std::uint32_t index) const noexcept;

  /// Whether the payload has certainly not been overwritten up to now.
  [[nodiscard]] bool intact() const noexcept;

  void release() noexcept;

 private:
  friend class shm::Reader;
  friend class Subscriber;
  [[nodiscard]] const std::byte* references() const noexcept;
  // Plain copies: this is on the path of every message.
  void take_over(Sample& other) noexcept {
    reader_ = other.reader_;
    outcome_ = other.outcome_;
    if (reader_ == nullptr) return;
    data_ = other.data_;
    size_ = other.size_;
    slot_ = other.slot_;
    resolved_ = other.resolved_;
    contents_ = other.contents_;
    user_header_bytes_ = other.user_header_bytes_;
    behind_ = other.behind_;
    again_ = other.again_;
    assignment_ = other.assignment_;
    timed_from_ns_ = other.timed_from_ns_;
    info_ = other.info_;
    other.reader_ = nullptr;
    other.data_ = nullptr;
    other.size_ = 0;
    other.outcome_ = Outcome::empty;
  }

  shm::Reader* reader_ = nullptr;
  const std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
  std::uint32_t slot_ = 0;
  Outcome outcome_ = Outcome::empty;
  bool resolved_ = false;
  std::uint8_t contents_ = 0;  // of the slot, beside a payload: the entry's flags for it
  bool again_ = false;  // resolved, since another sample of this message lives; can be acknowledged
  std::uint8_t assignment_ = 0;  // of a group's member: its place in the ring of assignments
  std::uint32_t user_header_bytes_ = 0;
  const std::byte* behind_ = nullptr;  // the payload, in the slot: where contents_ has something
  std::uint64_t timed_from_ns_ = 0;  // when taken, if this one is measured
  MessageInfo info_;
};

}  // namespace sluice
