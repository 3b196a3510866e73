// What a sender puts between the envelope and the payload.
#pragma once

#include "sluice/envelope.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace sluice::bus {

/// Extensions of one message, by reference: what they name must live until write(). Empty ones are
/// left out.
class Extensions {
 public:
  static constexpr std::size_t kMaxItems = 6;
  static constexpr std::size_t kMaxBytes = 1'024;  // of one; what is longer is cut off

  /// Left out as well where all of them would be too much for a header.
  void add(ExtensionId id, std::span<const std::byte> bytes) noexcept {
    if (bytes.empty() || count_ == kMaxItems) return;
    items_[count_++] = {id, bytes.first(bytes.size() < kMaxBytes ? bytes.size() : kMaxBytes)};
    if (header_bytes() > kMaxHeaderBytes) --count_;
  }
  void add(ExtensionId id, std::string_view text) noexcept {
    add(id, std::as_bytes(std::span{text.data(), text.size()}));
  }
  [[nodiscard]] std::size_t header_bytes() const noexcept;
  /// `header`: the first header_bytes() of the slot; leaves the envelope alone.
  void write(std::span<std::byte> header) const noexcept;

 private:
  struct Item {
    ExtensionId id{};
    std::span<const std::byte> bytes;
  };
  std::array<Item, kMaxItems> items_{};
  std::size_t count_ = 0;
};

inline std::string_view text_of_bytes(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline std::span<const std::byte> bytes_of_text(std::string_view text) noexcept {
  return std::as_bytes(std::span{text.data(), text.size()});
}

}  // namespace sluice::bus
