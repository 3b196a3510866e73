// Other processes choose their names freely, and a terminal does what control characters say: it
// changes its title, its colours, or answers as if somebody had typed. So every name goes through
// clean() on its way to the screen, and is measured as the terminal will show it.
#include "tools/sluice/text.hpp"

#include "sluice/frame.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

namespace sluice::tools {
namespace {

struct Character {
  std::uint32_t code = 0;  // 0: not valid
  std::size_t bytes = 1;
};

// The character at the start of `text`, which is not empty.
Character decode(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = at(0);
  if (first < 0x80) return {first, 1};
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length == 0 || first > 0xf4 || text.size() < length) return {};
  std::uint32_t code = first & (0xffu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (at(i) & 0x3fu);
  }
  constexpr std::array<std::uint32_t, 5> kLowest{0, 0, 0x80, 0x800, 0x1'0000};
  if (code < kLowest[length] || code > 0x10'ffff || (code >= 0xd800 && code <= 0xdfff)) return {};
  return {code, length};
}

bool combines(std::uint32_t c) { return c >= 0x300 && c <= 0x36f; }

// What would do something else than take one or two columns.
bool harmful(std::uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || (c >= 0x200b && c <= 0x200f) ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0x61c ||
         (c >= 0xfe00 && c <= 0xfe0f) || c == 0xfeff || (c >= 0xfff0 && c <= 0xffff) ||
         (c >= 0xe000 && c <= 0xf8ff) || c >= 0xe'0000 ||
         // scripts whose letters join or stack, which terminals show in widths of their own
         (c >= 0x590 && c <= 0x10ff) || (c >= 0x1160 && c <= 0x11ff) ||
         (c >= 0x1700 && c <= 0x1cff) || (c >= 0x1ab0 && c <= 0x1aff) ||
         (c >= 0x1dc0 && c <= 0x1dff) || (c >= 0x20d0 && c <= 0x20ff) ||
         (c >= 0x302a && c <= 0x302f) || (c >= 0xa800 && c <= 0xabff) ||
         (c >= 0xd7b0 && c <= 0xd7ff) || (c >= 0xfb1d && c <= 0xfdff) ||
         (c >= 0xfe20 && c <= 0xfe2f) || (c >= 0xfe70 && c <= 0xfeff) ||
         // pictures, of whose width terminals have different opinions
         (c >= 0x2300 && c <= 0x23ff) || (c >= 0x25fd && c <= 0x27bf) ||
         (c >= 0x2b00 && c <= 0x2bff) || (c >= 0x1'0000 && c <= 0x1'ffff);
}

bool wide(std::uint32_t c) {
  return (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf && c != 0x303f) ||
         (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
         (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
         (c >= 0xffe0 && c <= 0xffe6) || (c >= 0x2'0000 && c <= 0x3'fffd);
}

std::size_t columns_of(std::uint32_t c) { return combines(c) ? 0 : wide(c) ? 2 : 1; }

// What is left at least of the word that says what kind of thing it is, its "…" included, and of
// the name itself.
constexpr std::size_t kLeastKind = 4;
constexpr std::size_t kLeastWhich = 6;

// The longest beginning of cleaned text within `columns`.
std::string_view head(std::string_view text, std::size_t columns) {
  std::size_t end = 0;
  while (end < text.size()) {
    const Character c = decode(text.substr(end));
    const std::size_t wanted = columns_of(c.code);
    if (wanted > columns) break;
    columns -= wanted;
    end += c.bytes;
  }
  return text.substr(0, end);
}

// The longest end of it.
std::string_view tail(std::string_view text, std::size_t columns) {
  std::size_t all = tools::columns_of(text);
  while (all > columns && !text.empty()) {
    const Character c = decode(text);
    all -= columns_of(c.code);
    text.remove_prefix(c.bytes);
  }
  // An accent whose letter was cut off would sit on the "…".
  while (!text.empty() && combines(decode(text).code)) text.remove_prefix(decode(text).bytes);
  return text;
}

std::string printed(const char* format, double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

// Two digits below ten, then none behind the point: "9.9", "10", "999".
std::string short_number(double value) { return printed(value < 9.95 ? "%.1f" : "%.0f", value); }

}  // namespace

std::string clean(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool letter = false;  // something that an accent may combine with
  std::size_t accents = 0;
  while (!text.empty()) {
    const Character c = decode(text);
    accents = combines(c.code) ? accents + 1 : 0;
    const bool bad =
        c.code == 0 || harmful(c.code) || (combines(c.code) && (!letter || accents > 2));
    if (bad) {
      out += '?';
    } else {
      out += text.substr(0, c.bytes);
    }
    letter = !bad && c.code > ' ';
    text.remove_prefix(c.bytes);
  }
  return out;
}

std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  while (!text.empty()) {
    const Character c = decode(text);
    columns += columns_of(c.code);
    text.remove_prefix(c.bytes);
  }
  return columns;
}

std::string cut(std::string_view text, std::size_t columns) {
  std::string cleaned = clean(text);
  if (columns_of(cleaned) <= columns) return cleaned;
  if (columns == 0) return {};
  return std::string(head(cleaned, columns - 1)) + "…";
}

std::string cut_middle(std::string_view text, std::size_t columns) {
  std::string cleaned = clean(text);
  if (columns_of(cleaned) <= columns) return cleaned;
  if (columns < 5) return cut(cleaned, columns);
  const std::size_t behind = (columns - 1) / 2;
  return std::string(head(cleaned, columns - 1 - behind)) + "…" +
         std::string(tail(cleaned, behind));
}

std::string cut_topic(std::string_view topic, std::size_t columns) {
  const std::string cleaned = clean(topic);
  const std::size_t begin = cleaned.find('/');
  if (columns_of(cleaned) <= columns || begin == std::string::npos) {
    return cut_middle(cleaned, columns);
  }
  // Of two levels the second one says which.
  const std::size_t slash = cleaned.rfind('/');
  const std::size_t end = slash != begin ? slash : cleaned.size();
  const std::string kind = cleaned.substr(0, begin);
  const std::string which = cleaned.substr(begin, end - begin);
  const std::string what = cleaned.substr(end);
  std::size_t kind_columns = columns_of(kind);
  std::size_t what_columns = columns_of(what);
  const std::size_t wanted = columns_of(which);
  while (kind_columns + wanted + what_columns > columns) {
    std::size_t& longer =
        kind_columns > kLeastKind && kind_columns + 1 >= what_columns ? kind_columns : what_columns;
    if (longer <= kLeastKind + (&longer == &what_columns ? 1 : 0)) break;  // it has a slash
    --longer;
  }
  if (kind_columns + what_columns + std::min(wanted, kLeastWhich) > columns)
    return cut_middle(cleaned, columns);
  return cut(kind, kind_columns) + cut_middle(which, columns - kind_columns - what_columns) +
         cut(what, what_columns);
}

std::string cut_node(std::string_view node, std::size_t columns) {
  const std::string cleaned = clean(node);
  const std::size_t begin = cleaned.find('-');
  const std::size_t all = columns_of(cleaned);
  if (all <= columns || begin == std::string::npos) return cut_middle(cleaned, columns);
  const std::string kind = cleaned.substr(0, begin);
  const std::size_t long_kind = columns_of(kind);
  const std::size_t kind_columns =
      std::min(long_kind, std::max(kLeastKind, long_kind - std::min(long_kind, all - columns)));
  if (kind_columns + kLeastWhich > columns) return cut_middle(cleaned, columns);
  return cut(kind, kind_columns) +
         cut_middle(std::string_view(cleaned).substr(begin), columns - kind_columns);
}

std::string left(std::string_view text, std::size_t columns) {
  std::string out = cut(text, columns);
  out.append(columns - columns_of(out), ' ');
  return out;
}

std::string right(std::string_view text, std::size_t columns) {
  const std::string shown = cut(text, columns);
  return std::string(columns - columns_of(shown), ' ') + shown;
}

std::string to_ascii(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Character c = decode(text);
    switch (c.code) {
      case 0xb5:  // µ
        out += 'u';
        break;
      case 0x2026:  // …
        out += '~';
        break;
      case 0x2013:  // –
        out += '-';
        break;
      case 0xb7:  // ·
        out += '|';
        break;
      case 0x2588:  // █
        out += '#';
        break;
      case 0x2591:  // ░
        out += '.';
        break;
      default:
        if (c.code != 0 && c.code < 0x80) {
          out += static_cast<char>(c.code);
        } else {
          out.append(columns_of(c.code), '?');
        }
    }
    text.remove_prefix(c.bytes);
  }
  return out;
}

std::string duration_text(std::uint64_t ns) {
  const auto value = static_cast<double>(ns);
  if (ns == 0) return "0";
  if (value < 999.5) return printed("%.0fns", value);
  if (value < 999.5e3) return short_number(value / 1e3) + "µs";
  if (value < 999.5e6) return short_number(value / 1e6) + "ms";
  if (value < 599.5e9) return short_number(value / 1e9) + "s";
  if (value < 5970e9) return short_number(value / 60e9) + "m";
  if (value < 3.5e15) return short_number(value / 3600e9) + "h";
  return printed("%.0fd", std::min(value / 86400e9, 9999.0));
}

std::string rate_text(double per_second) {
  if (!(per_second > 0)) return "0";
  if (per_second < 0.005) return "<0.01";
  if (per_second < 9.995) return printed("%.2f", per_second);
  if (per_second < 999.95) return printed("%.1f", per_second);
  if (per_second < 9999.5) return printed("%.0f", per_second);
  if (per_second < 999.5e3) return short_number(per_second / 1e3) + "k";
  if (per_second < 999.5e6) return short_number(per_second / 1e6) + "M";
  return short_number(std::min(per_second / 1e9, 9999.0)) + "G";
}

std::string count_text(std::uint64_t count) {
  if (count < 100'000) return std::to_string(count);
  return rate_text(static_cast<double>(count));
}

std::string bytes_text(std::uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (value < 1000) return std::to_string(bytes) + " B";
  if (value < 999.5e3) return short_number(value / 1e3) + " kB";
  if (value < 999.5e6) return short_number(value / 1e6) + " MB";
  if (value < 999.5e9) return short_number(value / 1e9) + " GB";
  return short_number(value / 1e12) + " TB";
}

std::string ms_text(std::uint64_t ns) { return printed("%.3f", static_cast<double>(ns) / 1e6); }

std::string format_text(std::uint32_t fourcc) {
  switch (static_cast<PixelFormat>(fourcc)) {
    case PixelFormat::grey:
      return "GREY";
    case PixelFormat::nv12:
      return "NV12";
    case PixelFormat::i420:
      return "I420";
    case PixelFormat::yuyv:
      return "YUYV";
    case PixelFormat::bgr:
      return "BGR";
    case PixelFormat::rgb:
      return "RGB";
    case PixelFormat::mjpeg:
      return "MJPEG";
  }
  if (fourcc == 0) return {};
  std::string code;
  for (unsigned shift = 0; shift < 32; shift += 8)
    code += static_cast<char>(fourcc >> shift & 0xff);
  return clean(code);
}

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string all;
  for (const std::string_view part : parts) all += part;
  return all;
}

std::string plural(std::uint64_t count, std::string_view thing) {
  return std::to_string(count) + " " + std::string(thing) + (count == 1 ? "" : "s");
}

}  // namespace sluice::tools
