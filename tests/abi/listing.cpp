// An offset and 16 bytes a line, in the order of memory.
#include "tests/abi/listing.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace sluice::abi {
namespace {

constexpr std::size_t kLine = 16;

void list_line(std::ostream& out, std::size_t offset, std::span<const std::byte> bytes) {
  std::array<char, 24> text{};
  (void)std::snprintf(text.data(), text.size(), "  %06zx", offset);
  out << text.data();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    (void)std::snprintf(text.data(), text.size(), i % 8 == 0 ? "  %02x" : " %02x",
                        std::to_integer<unsigned>(bytes[i]));
    out << text.data();
  }
  out << '\n';
}

}  // namespace

void list_bytes(std::ostream& out, const std::string& name, std::span<const std::byte> bytes) {
  out << name << ", " << bytes.size() << " bytes\n";
  std::span<const std::byte> previous;
  bool starred = false;
  for (std::size_t at = 0; at < bytes.size(); at += kLine) {
    const auto line = bytes.subspan(at, std::min(kLine, bytes.size() - at));
    const bool again = std::ranges::equal(line, previous);
    if (!again) list_line(out, at, line);
    if (again && !starred) out << "  *\n";
    starred = again;
    previous = line;
  }
}

void list_parts(std::ostream& out, const char* name, std::size_t bytes,
                const std::vector<Part>& parts) {
  out << name << ", " << bytes << " bytes\n";
  for (const Part& part : parts) {
    out << "  " << part.offset << " + " << part.bytes << "  " << part.name << '\n';
  }
}

}  // namespace sluice::abi
