#include "daemons/sluiced/topic_traits.hpp"

#include "sluice/topic.hpp"

namespace sluice::broker {

TopicTraits traits_of(const std::vector<TopicRule>& rules, std::string_view topic) noexcept {
  TopicTraits all;
  for (const TopicRule& rule : rules) {
    if (!filter_matches(rule.filter, topic)) continue;
    all.sensitive = all.sensitive || rule.traits.sensitive;
    all.durable = all.durable || rule.traits.durable;
  }
  all.durable = all.durable && !all.sensitive;
  return all;
}

}  // namespace sluice::broker
