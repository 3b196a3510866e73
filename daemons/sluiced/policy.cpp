// How a rule with placeholders meets a hostile name.
//
// A node chooses its name, and user names come from databases that others fill. Put into a filter,
// a name such as "#", "a/b" or "" would make another rule of it. So only a name that is one
// ordinary level, and does not begin with '$', is put in. Otherwise a rule errs on the safe side:
// an [[allow]] gives nothing, and a [[deny]] takes everything from that level on.
#include "daemons/sluiced/policy.hpp"

#include "sluice/topic.hpp"
#include "transport/quote.hpp"

#include <algorithm>
#include <optional>

namespace sluice::broker {
namespace {

using transport::quoted;

bool is_plain_name(std::string_view name) {
  return check_topic(name).has_value() && name.find('/') == std::string_view::npos &&
         name.front() != '$';
}

bool names_node(const std::vector<std::string>& patterns, std::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(), [&](std::string_view pattern) {
    if (pattern.back() != '*') return pattern == name;
    pattern.remove_suffix(1);
    return name.substr(0, pattern.size()) == pattern;
  });
}

bool is_member(const Identity& who, gid_t gid) {
  return who.gid == gid || std::find(who.groups.begin(), who.groups.end(), gid) != who.groups.end();
}

bool is_about(const Rule& rule, const Identity& who) {
  const auto is_user = [&](const Account& user) { return user.id == who.uid; };
  const auto is_in = [&](const Account& group) { return is_member(who, group.id); };
  if (!rule.users.empty() && std::none_of(rule.users.begin(), rule.users.end(), is_user)) {
    return false;
  }
  if (!rule.groups.empty() && std::none_of(rule.groups.begin(), rule.groups.end(), is_in)) {
    return false;
  }
  return rule.nodes.empty() || names_node(rule.nodes, who.node_name);
}

bool is_about(const Rule& rule, Action action) {
  return rule.actions.empty() ||
         std::find(rule.actions.begin(), rule.actions.end(), action) != rule.actions.end();
}

// What an [[allow]] gives. Who lends can take readers down by shortening what they have mapped: that
// is not given by the way.
bool gives(const Rule& rule, Action action) {
  return is_about(rule, action) && (action != Action::lend || !rule.actions.empty());
}

// Whom an [[allow]] is about. A name that is none does not get in where names are asked for.
bool allows(const Rule& rule, const Identity& who) {
  return is_about(rule, who) && (rule.nodes.empty() || is_plain_name(who.node_name));
}

// The filter of an [[allow]], or nothing.
std::optional<std::string> allowed_filter(std::string_view filter, const Identity& who) {
  Expansion expanded = expand(filter, who.user_name, who.node_name);
  if (expanded.missing != 0 || !check_filter(expanded.text)) return std::nullopt;
  return std::move(expanded.text);
}

// The filter of a [[deny]]; nothing stands for every topic.
std::optional<std::string> denied_filter(std::string_view filter, const Identity& who) {
  Expansion expanded = expand(filter, who.user_name, who.node_name);
  if (expanded.missing == 0) return std::move(expanded.text);
  const std::size_t slash = expanded.text.rfind('/');
  if (slash == std::string::npos) return std::nullopt;  // "#" would leave out what begins with '$'
  return expanded.text.substr(0, slash + 1) + "#";
}

std::string describe(const Identity& who) {
  std::string text = "user " + (who.user_name.empty() ? "" : quoted(who.user_name) + " ") +
                     "(uid " + std::to_string(who.uid) + ")";
  if (!who.node_name.empty()) text += " as node " + quoted(who.node_name);
  return text;
}

std::string refusal_of(const Identity& who, Action action, std::string_view filter) {
  return describe(who) + " may not " + to_string(action) + " " + quoted(filter) + ": ";
}

}  // namespace

const char* to_string(Action action) noexcept {
  for (const NamedAction& named : kActions) {
    if (named.action == action) return named.name;
  }
  return "unknown";
}

Expansion expand(std::string_view filter, std::string_view user_name, std::string_view node_name) {
  Expansion out;
  for (std::size_t i = 0; i < filter.size(); ++i) {
    if (filter[i] != '%') {
      out.text += filter[i];
      continue;
    }
    const char what = ++i < filter.size() ? filter[i] : '%';
    if (what == '%') {
      out.text += '%';
      continue;
    }
    const std::string_view name = what == 'u' ? user_name : node_name;
    if (!is_plain_name(name)) {
      out.missing = what;
      return out;
    }
    out.text += name;
  }
  return out;
}

Policy::Policy(Rules rules, uid_t own_uid, gid_t own_gid)
    : rules_(std::move(rules)), own_uid_(own_uid) {
  if (!rules_.allow.empty()) return;
  Rule own_user;
  own_user.users = {{"the broker's own", own_uid}};
  for (const NamedAction& named : kActions) own_user.actions.push_back(named.action);  // lend, too
  Rule own_group;
  own_group.groups = {{"the broker's own", own_gid}};
  own_group.actions = own_user.actions;
  rules_.allow = {std::move(own_user), std::move(own_group)};
  default_ = "there is no [[allow]] rule, so only the broker's user (uid " +
             std::to_string(own_uid) + ") and the members of its group (gid " +
             std::to_string(own_gid) + ") may";
}

Verdict Policy::may_connect(const Identity& who) const {
  const std::string refusal = describe(who) + " may not connect: ";
  for (const Rule& rule : rules_.deny) {
    if (is_about(rule, who) && rule.actions.empty() && rule.filters.empty()) {
      return {false, refusal + "the [[deny]] rule at " + place_of(rule) +
                         " refuses everything; narrow or remove it"};
    }
  }
  for (const Rule& rule : rules_.allow) {
    if (allows(rule, who)) return {true, ""};
  }
  return {false, refusal + (default_.empty() ? "no [[allow]] rule is about it" : default_) + "; " +
                     remedy(who, "")};
}

std::optional<std::string> Policy::denied(const Identity& who, Action action,
                                          std::string_view filter, bool everything) const {
  const std::string refusal = refusal_of(who, action, filter);
  for (const Rule& rule : rules_.deny) {
    if (!is_about(rule, who) || !is_about(rule, action)) continue;
    if (rule.filters.empty() && everything) {
      return refusal + "the [[deny]] rule at " + place_of(rule) +
             " refuses every topic; narrow or remove it";
    }
    for (const std::string& denied : rule.filters) {
      const std::optional<std::string> expanded = denied_filter(denied, who);
      if (expanded && !filters_overlap(*expanded, filter)) continue;
      return refusal + "the [[deny]] rule at " + place_of(rule) + " refuses " + quoted(denied) +
             "; ask for less, or narrow or remove it";
    }
  }
  return std::nullopt;
}

bool Policy::is_named(const Identity& who, Action action, std::string_view filter) const {
  return std::any_of(rules_.allow.begin(), rules_.allow.end(), [&](const Rule& rule) {
    if (!allows(rule, who) || !gives(rule, action)) return false;
    return std::any_of(rule.filters.begin(), rule.filters.end(), [&](const std::string& allowed) {
      const std::optional<std::string> expanded = allowed_filter(allowed, who);
      return expanded && filter_includes(*expanded, filter);
    });
  });
}

Verdict Policy::may(const Identity& who, Action action, std::string_view filter) const {
  const std::string refusal = refusal_of(who, action, filter);
  if (auto checked = check_filter(filter); !checked) {
    return {false, refusal + checked.error().message};
  }
  if (auto why = denied(who, action, filter, true)) return {false, std::move(*why)};
  const Rule* partly = nullptr;
  std::string part;
  for (const Rule& rule : rules_.allow) {
    if (!allows(rule, who) || !gives(rule, action)) continue;
    if (rule.filters.empty()) return {true, ""};
    for (const std::string& allowed : rule.filters) {
      const std::optional<std::string> expanded = allowed_filter(allowed, who);
      if (!expanded) continue;
      if (filter_includes(*expanded, filter)) return {true, ""};
      if (partly == nullptr && filters_overlap(*expanded, filter)) {
        partly = &rule;
        part = *expanded;
      }
    }
  }
  if (partly != nullptr) {
    return {false, refusal + "the [[allow]] rule at " + place_of(*partly) + " gives only " +
                       quoted(part) + "; ask for no more than that, or widen the rule"};
  }
  return {false, refusal + (default_.empty() ? "no [[allow]] rule gives it" : default_) + "; " +
                     remedy(who, std::string(", actions = [\"") + to_string(action) +
                                     "\"], filters = [" + quoted(filter) + "]")};
}

std::string Policy::place_of(const Rule& rule) const {
  return rules_.source + ":" + std::to_string(rule.line);
}

std::string Policy::remedy(const Identity& who, const std::string& more) const {
  const std::string file = rules_.source.empty() ? "the configuration" : rules_.source;
  return "an [[allow]] with user = " +
         (who.user_name.empty() ? quoted(std::to_string(who.uid)) : quoted(who.user_name)) + more +
         " in " + file + " would allow it";
}

}  // namespace sluice::broker
