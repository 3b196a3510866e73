// What a sender puts between the envelope and the payload.
#pragma once

#include "sluice/envelope.hpp"
#include "sluice/trace_context.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace sluice::bus {

/// A header, envelope and extensions, is a multiple of that.
inline constexpr std::size_t kHeaderAlignment = 32;

/// As read_envelope, into `to`; false where it says nothing.
bool read_envelope_to(std::span<const std::byte> slot, Envelope& to) noexcept;

/// In front of an extension's bytes: its id and its size.
inline constexpr std::size_t kItemHeadBytes = 4;

/// What is passed on of a tracestate, section 3.3.1.5 and 4.3 of the recommendation: nothing where
/// the trace is none or the text is wrong; else at most TraceState::kMaxBytes of it, whole members.
/// Allocates only where something has to change.
void settle_tracestate(const TraceContext& trace, std::string& state) noexcept;

/// Takes back what an interceptor must not change: what the message is, how far it has come, and
/// what its reader relies on.
inline void keep_fixed(const Envelope& fixed, Envelope& envelope) noexcept {
  envelope.magic = fixed.magic;
  envelope.version = fixed.version;
  envelope.kind = fixed.kind;
  envelope.codec = fixed.codec;
  envelope.hops = fixed.hops;
  envelope.attempt = fixed.attempt;
  envelope.header_bytes = fixed.header_bytes;
  envelope.id = fixed.id;
  envelope.call = fixed.call;
}

/// Extensions of one message, by reference: what they name must live until write(). Empty ones are
/// left out.
class Extensions {
 public:
  static constexpr std::size_t kMaxItems = 6;
  static constexpr std::size_t kMaxBytes = 1'024;  // of a sentence; what is longer is cut off

  /// False: left out, since it is empty, or all of them would be too much for a header. Only a
  /// sentence says something without its end.
  bool add(ExtensionId id, std::span<const std::byte> bytes) noexcept {
    if (bytes.empty() || count_ == kMaxItems) return false;
    const std::span<const std::byte> used = bytes.first(used_of(id, bytes));
    const std::size_t size = size_ + item_bytes(used.size());
    if (rounded(size) > kMaxHeaderBytes) return false;
    items_[count_++] = {id, used};
    size_ = size;
    return true;
  }
  bool add(ExtensionId id, std::string_view text) noexcept {
    return add(id, std::as_bytes(std::span{text.data(), text.size()}));
  }
  [[nodiscard]] std::size_t header_bytes() const noexcept { return rounded(size_); }
  /// `header`: the first header_bytes() of the slot; leaves the envelope alone.
  void write(std::span<std::byte> header) const noexcept;

 private:
  // Without half a character at its end.
  static std::size_t used_of(ExtensionId id, std::span<const std::byte> bytes) noexcept {
    if (id != ExtensionId::error || bytes.size() <= kMaxBytes) return bytes.size();
    std::size_t size = kMaxBytes;
    while (size > kMaxBytes - 4 && (bytes[size] & std::byte{0xc0}) == std::byte{0x80}) --size;
    return size;
  }
  static constexpr std::size_t item_bytes(std::size_t bytes) noexcept {
    return kItemHeadBytes + (bytes + 3) / 4 * 4;  // with padding
  }
  static constexpr std::size_t rounded(std::size_t header) noexcept {
    return (header + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment;
  }
  struct Item {
    ExtensionId id{};
    std::span<const std::byte> bytes;
  };
  std::array<Item, kMaxItems> items_;  // the first count_
  std::size_t count_ = 0;
  std::size_t size_ = sizeof(Envelope);  // without the padding at the end
};

inline std::string_view text_of_bytes(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline std::span<const std::byte> bytes_of_text(std::string_view text) noexcept {
  return std::as_bytes(std::span{text.data(), text.size()});
}

}  // namespace sluice::bus
