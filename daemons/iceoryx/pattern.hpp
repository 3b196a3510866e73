// Names on one side made from names on the other.
//
// iceoryx names what is published by three strings of at most 100 bytes: service, instance, event.
// Sluice has topics. A rule chooses by pattern (`*` in a string of iceoryx's, `+` and `#` in a
// filter) and names the other side by a template with placeholders in braces.
#pragma once

#include "sluice/result.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::iceoryx {

inline constexpr std::size_t kMaxIdBytes = 100;  ///< iox::IdString_t's.

/// What iceoryx calls a service description; or patterns, or templates for one.
struct ServiceIds {
  std::string service, instance, event;
  friend bool operator==(const ServiceIds&, const ServiceIds&) = default;
};
/// "Radar/FrontLeft/Object", for people.
std::string to_string(const ServiceIds& ids);

/// `*` stands for any characters, none included.
bool glob_matches(std::string_view pattern, std::string_view text) noexcept;
/// Whether there is a text that both match.
bool globs_overlap(std::string_view a, std::string_view b);
bool matches(const ServiceIds& patterns, const ServiceIds& ids) noexcept;

/// A string of iceoryx's as one level of a topic: what cannot stand there, and %, becomes %XX.
std::string as_level(std::string_view id);

/// What each wildcard of the filter stands for in a topic that it matches.
std::vector<std::string> captures(std::string_view filter, std::string_view topic);
std::size_t wildcards(std::string_view filter) noexcept;

/// Text with placeholders: "{service}/x", "{1}".
class Template {
 public:
  Template() = default;
  /// `names`: what may stand in braces.
  static Result<Template> parse(std::string_view text, const std::vector<std::string>& names);

  /// `values`: in the order of the names.
  [[nodiscard]] std::string expand(const std::vector<std::string>& values) const;
  /// As a filter that matches whatever it can expand to, if values have no '/'.
  [[nodiscard]] std::string as_filter() const;
  /// The same for glob_matches().
  [[nodiscard]] std::string as_glob() const;
  [[nodiscard]] bool has_placeholders() const noexcept;

 private:
  struct Part {
    std::string text;
    std::optional<std::size_t> name;  ///< Or else `text`.
  };
  std::vector<Part> parts_;
};

}  // namespace sluice::iceoryx
