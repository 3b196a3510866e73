// From TOML to Config, without tolerance: a key that is not known, or a value that is not meant, is
// an error, since a slip in a file about rights must not pass for a right.
//
// How, is TomlReader's; what, stands here.
#include "daemons/sluiced/config.hpp"

#include "daemons/common/toml_reader.hpp"
#include "sluice/topic.hpp"
#include "transport/quote.hpp"

#include <grp.h>
#include <pwd.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <limits>
#include <utility>
#include <vector>

namespace sluice::broker {
namespace {

using daemon::listed;
using transport::quoted;

static_assert(kMaxConfigBytes == daemon::kMaxTomlBytes, "what TomlReader takes at most");
constexpr std::uint64_t kMaxLimit = std::uint64_t{1} << 62;

std::vector<const char*> action_names() {
  std::vector<const char*> names;
  names.reserve(kActions.size());
  for (const NamedAction& named : kActions) names.push_back(named.name);
  return names;
}

// A uid or gid written as a number.
std::optional<std::uint32_t> number_of(const std::string& name) {
  std::uint32_t id = 0;
  const char* end = name.data() + name.size();
  const auto [at, code] = std::from_chars(name.data(), end, id);
  // The highest one means "nobody" to the kernel.
  if (code != std::errc{} || at != end || id == std::numeric_limits<std::uint32_t>::max()) {
    return std::nullopt;
  }
  return id;
}

class Reader : public daemon::TomlReader {
 public:
  Reader(std::string source, const Accounts& accounts)
      : TomlReader(std::move(source)), accounts_(accounts) {}

  Result<Config> read(const toml::table& root) {
    Config config;
    config.rules.source = source();
    read_table(
        root, "the file",
        {
            {"socket", [&](const toml::node& node) { config.socket = read_socket(node); }},
            {"log", [&](const toml::node& node) { config.log = read_log(node); }},
            {"limits", [&](const toml::node& node) { config.limits = read_limits(node); }},
            {"allow", [&](const toml::node& node) { config.rules.allow = read_rules(node, true); }},
            {"deny", [&](const toml::node& node) { config.rules.deny = read_rules(node, false); }},
            {"topic", [&](const toml::node& node) { config.topics = read_topics(node); }},
        });
    if (auto error = first_error()) return std::move(*error);
    return config;
  }

 private:
  std::string read_socket(const toml::node& node) {
    std::string path = read_string(node, "socket");
    if (path.empty() || path.front() != '/' || path.find('\0') != std::string::npos) {
      fail(node, "socket is " + quoted(path) + "; write an absolute path");
    } else if (path.size() >= sizeof(sockaddr_un::sun_path)) {
      fail(node, "socket has " + std::to_string(path.size()) + " bytes; choose a path of at most " +
                     std::to_string(sizeof(sockaddr_un::sun_path) - 1));
    }
    return path;
  }

  LimitTable read_limits(const toml::node& node) {
    LimitTable limits;
    read_table(node, "[limits]",
               {{"each_user",
                 [&](const toml::node& each) {
                   limits.each_user = read_values(each, "limits.each_user", limits.each_user, true);
                 }},
                {"in_all",
                 [&](const toml::node& all) {
                   limits.in_all = read_values(all, "limits.in_all", limits.in_all, false);
                 }},
                // The last, since what it leaves out is each_user's.
                {"user", [&](const toml::node& users) { read_users(users, limits); }}});
    return limits;
  }

  Limits read_values(const toml::node& node, const std::string& where, Limits limits,
                     bool of_a_user) {
    std::vector<Field> fields;
    fields.reserve(kLimitFields.size() + kStreamLimitFields.size());
    const auto add = [&](const LimitField& field) {
      fields.push_back({field.name, [this, &limits, &where, &field](const toml::node& value) {
                          limits.*field.value = read_limit(value, where + "." + field.name, field);
                        }});
    };
    for (const LimitField& field : kLimitFields) add(field);
    for (const LimitField& field : kStreamLimitFields) {
      if (of_a_user) add(field);
    }
    read_table(node, "[" + where + "]", fields);
    return limits;
  }

  std::uint64_t read_limit(const toml::node& node, const std::string& what,
                           const LimitField& field) {
    const bool in_bytes = field.value == &Limits::bytes || field.value == &Limits::message_bytes;
    const std::uint64_t most =
        field.value == &Limits::requests_per_second ? kMaxRequestsPerSecond : kMaxLimit;
    std::optional<std::uint64_t> value;
    if (const auto* number = node.as_integer(); number != nullptr && number->get() >= 0) {
      value = static_cast<std::uint64_t>(number->get());
    } else if (const auto* text = node.as_string(); text != nullptr && in_bytes) {
      value = bytes_of(text->get());
    }
    if (value && *value <= most) return *value;
    fail(node, what + " is no number from 0 to " + std::to_string(most) + "; write one such as " +
                   (in_bytes ? "1_000_000, or one with its unit such as \"512 MiB\"" : "1_000"));
    return 0;
  }

  // "512 MiB" and the like.
  static std::optional<std::uint64_t> bytes_of(std::string_view text) {
    constexpr std::array<std::pair<std::string_view, unsigned>, 4> kUnits{
        {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}};
    std::uint64_t number = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (code != std::errc{}) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (text.substr(0, 1) == " ") text.remove_prefix(1);
    for (const auto& [name, shift] : kUnits) {
      if (text == name && number <= kMaxLimit >> shift) return number << shift;
    }
    return std::nullopt;
  }

  void read_users(const toml::node& node, LimitTable& limits) {
    const toml::table* users = node.as_table();
    if (users == nullptr) {
      fail(node, "limits.user is a table of users; write [limits.user.NAME]");
      return;
    }
    for (const auto& [key, value] : *users) {
      const std::string name(key.str());
      UserLimits own{name, read_values(value, "limits.user." + name, limits.each_user, true)};
      const auto uid = id_of(name, accounts_.user);
      if (!uid) {
        fail(key.source().begin, "there is no user " + quoted(name) +
                                     " on this system; correct the name, or write the uid");
      } else if (const auto [at, added] = limits.users.emplace(*uid, std::move(own)); !added) {
        fail(key.source().begin, quoted(name) + " and " + quoted(at->second.name) +
                                     " are the same user; keep one of the tables");
      }
    }
  }

  std::vector<TopicRule> read_topics(const toml::node& node) {
    std::vector<TopicRule> topics;
    const toml::array* array = node.as_array();
    if (array == nullptr) {
      fail(node, "topics are a list; write [[topic]] with two brackets before each of them");
      return topics;
    }
    for (const toml::node& element : *array) {
      if (!element.is_table()) {
        fail(element, "a topic is a table; write [[topic]] and its keys on lines of their own");
        continue;
      }
      TopicRule topic = read_topic(element);
      check_contradiction(element, topics, topic);
      topics.push_back(std::move(topic));
    }
    return topics;
  }

  TopicRule read_topic(const toml::node& node) {
    TopicRule topic;
    topic.line = node.source().begin.line;
    const std::size_t problems_before = problems();
    read_table(
        *node.as_table(), "[[topic]]",
        {{"filter",
          [&](const toml::node& value) {
            topic.filter = read_string(value, "filter");
            if (auto checked = check_filter(topic.filter); !checked) {
              fail(value, checked.error().message);
            }
          }},
         {"sensitive",
          [&](const toml::node& value) { topic.traits.sensitive = read_bool(value, "sensitive"); }},
         {"durable",
          [&](const toml::node& value) { topic.traits.durable = read_bool(value, "durable"); }}});
    if (problems() != problems_before) return topic;
    if (topic.filter.empty()) {
      fail(node, "the [[topic]] does not say which; add filter");
    } else if (!topic.traits.sensitive && !topic.traits.durable) {
      fail(node, "the [[topic]] says nothing; add sensitive = true or durable = true");
    }
    return topic;
  }

  // Between filters that only overlap, sensitive wins; by one and the same nobody can mean both.
  void check_contradiction(const toml::node& node, const std::vector<TopicRule>& before,
                           const TopicRule& topic) {
    TopicTraits all = topic.traits;
    for (const TopicRule& other : before) {
      if (other.filter != topic.filter) continue;
      all.sensitive = all.sensitive || other.traits.sensitive;
      all.durable = all.durable || other.traits.durable;
    }
    if (!all.sensitive || !all.durable) return;
    fail(node, quoted(topic.filter) +
                   " is sensitive, hence never recorded, and durable, hence always; decide for "
                   "one of them");
  }

  std::vector<Rule> read_rules(const toml::node& node, bool allow) {
    const std::string where = allow ? "[[allow]]" : "[[deny]]";
    std::vector<Rule> rules;
    const toml::array* array = node.as_array();
    if (array == nullptr) {
      fail(node, "rules are a list; write " + where + " with two brackets before each of them");
      return rules;
    }
    for (const toml::node& element : *array) {
      if (element.is_table()) {
        rules.push_back(read_rule(element, where, allow));
      } else {
        fail(element, "a rule is a table; write " + where + " and its keys on lines of their own");
      }
    }
    return rules;
  }

  Rule read_rule(const toml::node& node, const std::string& where, bool allow) {
    Rule rule;
    rule.line = node.source().begin.line;
    bool everybody = false;
    const std::size_t problems_before = problems();
    read_table(
        *node.as_table(), where,
        {{"everybody", [&](const toml::node& value) { everybody = read_bool(value, "everybody"); }},
         {"user",
          [&](const toml::node& value) {
            rule.users = read_accounts(value, "user", accounts_.user);
          }},
         {"group",
          [&](const toml::node& value) {
            rule.groups = read_accounts(value, "group", accounts_.group);
          }},
         {"node", [&](const toml::node& value) { rule.nodes = read_nodes(value); }},
         {"actions", [&](const toml::node& value) { rule.actions = read_actions(value); }},
         {"filters", [&](const toml::node& value) { rule.filters = read_filters(value); }}});
    // It would stand first, and be the consequence of another.
    if (problems() == problems_before) check_subject(node, rule, everybody, allow);
    return rule;
  }

  // Nobody is let in because a line was forgotten.
  void check_subject(const toml::node& node, const Rule& rule, bool everybody, bool allow) {
    const toml::table& table = *node.as_table();
    const bool some = table.contains("user") || table.contains("group");
    if (everybody && some) {
      fail(node, "the rule is about everybody and about some; remove everybody, or user and group");
    } else if (!everybody && !some && !rule.nodes.empty() && allow) {
      fail(node,
           "the rule lets in whoever calls its node so, for any process chooses its node's name; "
           "add "
           "user or group, or everybody = true when that is meant");
    } else if (!everybody && !some && rule.nodes.empty()) {
      fail(node,
           "the rule does not say whom it is about; add user, group, node or everybody = true");
    }
  }

  // A number is itself, unless it is somebody's name.
  static std::optional<std::uint32_t> id_of(const std::string& name, const Accounts::Find& find) {
    if (const auto id = find(name)) return id;
    return number_of(name);
  }

  std::vector<Account> read_accounts(const toml::node& node, const std::string& what,
                                     const Accounts::Find& find) {
    std::vector<Account> accounts;
    read_strings(node, what, [&](const std::string& name, const toml::node& at) {
      if (const auto id = id_of(name, find)) {
        accounts.push_back({name, *id});
      } else {
        fail(at, "there is no " + what + " " + quoted(name) +
                     " on this system; correct the name, or write the number as a string");
      }
    });
    return accounts;
  }

  std::vector<std::string> read_nodes(const toml::node& node) {
    std::vector<std::string> nodes;
    read_strings(node, "node", [&](const std::string& name, const toml::node& at) {
      if (name.empty() || name.find('*') < name.size() - 1 ||
          name.find_first_of("/+#") != std::string::npos) {
        fail(at,
             "node " + quoted(name) +
                 " names none; write a name without '/', '+' and '#', or its beginning and '*'");
      } else {
        nodes.push_back(name);
      }
    });
    return nodes;
  }

  std::vector<Action> read_actions(const toml::node& node) {
    std::vector<Action> actions;
    read_strings(node, "actions", [&](const std::string& name, const toml::node& at) {
      const auto* found =
          std::find_if(kActions.begin(), kActions.end(),
                       [&](const NamedAction& named) { return named.name == name; });
      if (found != kActions.end()) {
        actions.push_back(found->action);
      } else {
        fail(at, "there is no action " + quoted(name) + "; choose among " + listed(action_names()));
      }
    });
    return actions;
  }

  std::vector<std::string> read_filters(const toml::node& node) {
    std::vector<std::string> filters;
    read_strings(node, "filters", [&](const std::string& filter, const toml::node& at) {
      for (std::size_t i = filter.find('%'); i < filter.size(); i = filter.find('%', i + 2)) {
        if (i + 1 < filter.size() && std::string_view("un%").find(filter[i + 1]) < 3) continue;
        fail(at, "filter " + quoted(filter) +
                     " has a '%' that stands for nothing; write %u, %n, or %% for a percent sign");
      }
      // Whether it is valid does not depend on the names, as long as they are.
      if (auto checked = check_filter(expand(filter, "u", "n").text); !checked) {
        fail(at, checked.error().message);
      }
      filters.push_back(filter);
    });
    return filters;
  }

  const Accounts& accounts_;
};

// Calls getpwnam_r or getgrnam_r with as much room as it wants.
template <class Entry, class Get>
bool look_up(const std::string& name, Entry& entry, Get get) {
  constexpr std::size_t kMostBytes = std::size_t{1} << 20;
  for (std::vector<char> room(1024); room.size() <= kMostBytes; room.resize(room.size() * 4)) {
    Entry* found = nullptr;
    const int code = get(name.c_str(), &entry, room.data(), room.size(), &found);
    if (code != ERANGE) return found != nullptr;
  }
  return false;
}

bool is_c_string(const std::string& name) {
  return !name.empty() && name.find('\0') == std::string::npos;
}

std::optional<std::uint32_t> find_user(const std::string& name) {
  passwd entry{};
  if (is_c_string(name) && look_up(name, entry, ::getpwnam_r)) return entry.pw_uid;
  return std::nullopt;
}

std::optional<std::uint32_t> find_group(const std::string& name) {
  group entry{};
  if (is_c_string(name) && look_up(name, entry, ::getgrnam_r)) return entry.gr_gid;
  return std::nullopt;
}

}  // namespace

Accounts system_accounts() { return {find_user, find_group}; }

Result<Config> parse_config(std::string_view text, std::string source_name,
                            const Accounts& accounts) {
  Reader reader(source_name, accounts);
  return daemon::read_toml(text, reader, source_name);
}

Result<Config> load_config(const std::string& path) {
  auto text = daemon::load_toml(path, "the configuration");
  if (!text) return std::move(text).error();
  return parse_config(*text, path);
}

}  // namespace sluice::broker
