// What the administrator says about topics, rather than about users.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::broker {

struct TopicTraits {
  bool sensitive = false;  ///< Never recorded, wiped when it is let go of.
  bool durable = false;    ///< Recorded before it counts as published.
};

/// One [[topic]].
struct TopicRule {
  std::uint32_t line = 0;  ///< Where it begins in the file.
  std::string filter;
  TopicTraits traits;
};

/// What all rules whose filter matches say together; what is sensitive is not durable.
TopicTraits traits_of(const std::vector<TopicRule>& rules, std::string_view topic) noexcept;

}  // namespace sluice::broker
