// What a sender puts between the envelope and the payload.
#pragma once

#include "sluice/envelope.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace sluice::bus {

/// A header, envelope and extensions, is a multiple of that.
inline constexpr std::size_t kHeaderAlignment = 32;

/// As read_envelope, into `to`; false where it says nothing.
bool read_envelope_to(std::span<const std::byte> slot, Envelope& to) noexcept;

/// Extensions of one message, by reference: what they name must live until write(). Empty ones are
/// left out.
class Extensions {
 public:
  static constexpr std::size_t kMaxItems = 6;
  static constexpr std::size_t kMaxBytes = 1'024;  // of one; what is longer is cut off

  /// Left out as well where all of them would be too much for a header.
  void add(ExtensionId id, std::span<const std::byte> bytes) noexcept {
    if (bytes.empty() || count_ == kMaxItems) return;
    const std::span<const std::byte> used = bytes.first(std::min(bytes.size(), kMaxBytes));
    const std::size_t size = size_ + item_bytes(used.size());
    if (rounded(size) > kMaxHeaderBytes) return;
    items_[count_++] = {id, used};
    size_ = size;
  }
  void add(ExtensionId id, std::string_view text) noexcept {
    add(id, std::as_bytes(std::span{text.data(), text.size()}));
  }
  [[nodiscard]] std::size_t header_bytes() const noexcept { return rounded(size_); }
  /// `header`: the first header_bytes() of the slot; leaves the envelope alone.
  void write(std::span<std::byte> header) const noexcept;

 private:
  static constexpr std::size_t item_bytes(std::size_t bytes) noexcept {
    return 4 + (bytes + 3) / 4 * 4;  // a head, and padding
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
