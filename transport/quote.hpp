// Text from elsewhere, in messages and logs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

namespace sluice::transport {

/// `text` between quotation marks, printable whatever it contains, and cut off when it is long.
inline std::string quoted(std::string_view text) {
  constexpr std::size_t kShownBytes = 64;
  std::string out = "'";
  for (const char c : text.substr(0, kShownBytes)) {
    if (c >= ' ' && c <= '~') {
      out += c;
    } else {
      std::array<char, 5> hex{};
      std::snprintf(hex.data(), hex.size(), "\\x%02x", static_cast<unsigned char>(c));
      out += hex.data();
    }
  }
  return out + (text.size() > kShownBytes ? "…'" : "'");
}

}  // namespace sluice::transport
