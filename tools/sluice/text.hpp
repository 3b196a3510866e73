// Text for terminals: names from other processes made harmless, cut and padded to columns; numbers
// with units in few characters. Values, no state; nothing here depends on the locale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace sluice::tools {

/// `text` with everything replaced by '?' that is not to be seen as itself: control characters,
/// what changes the direction or has no width, what is not UTF-8. Accents that combine are kept.
std::string clean(std::string_view text);

/// Columns that cleaned text takes.
std::size_t columns_of(std::string_view text);

/// Cleaned, and cut off to at most `columns`, with "…" where something is missing: at the end, or
/// in the middle where the beginning and the end both say what it is (topics).
std::string cut(std::string_view text, std::size_t columns);
std::string cut_middle(std::string_view text, std::size_t columns);
/// The same for names whose kind stands first: of a topic the levels between the first and the last
/// are kept as long as can be ("recog…/people/identi…"), of a node what follows its first word
/// ("recogn…-people").
std::string cut_topic(std::string_view topic, std::size_t columns);
std::string cut_node(std::string_view node, std::size_t columns);

/// Exactly `columns` wide: cut, or padded at the right (left-aligned) or at the left.
std::string left(std::string_view text, std::size_t columns);
std::string right(std::string_view text, std::size_t columns);

/// For terminals without UTF-8, the same number of columns.
std::string to_ascii(std::string_view text);

/// At most 5 columns, three significant digits where they fit: "850µs", "1.2ms", "33ms", "2.1s",
/// "14m", "3.0h".
std::string duration_text(std::uint64_t ns);
/// At most 5 columns: "0", "0.25", "30.0", "4.5k", "1.2M".
std::string rate_text(double per_second);
/// At most 5 columns: "0", "99999", "123k", "4.5M".
std::string count_text(std::uint64_t count);
/// "512 B", "6.2 MB" (powers of ten).
std::string bytes_text(std::uint64_t bytes);
/// Milliseconds with three decimals, for tables of times.
std::string ms_text(std::uint64_t ns);

/// A DRM FourCC as people write it: "NV12", "I420" for YU12, "GREY" for R8, "BGR", "RGB", "MJPEG".
std::string format_text(std::uint32_t fourcc);

/// One after the other.
std::string joined(std::initializer_list<std::string_view> parts);

/// "1 stream", "3 streams".
std::string plural(std::uint64_t count, std::string_view thing);

}  // namespace sluice::tools
