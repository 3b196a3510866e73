// From TOML to Config, without tolerance: a key that is not known, or a value that is not meant, is
// an error, since a slip in a file about rights must not pass for a right.
//
// The reader goes through what may be there, key by key, and remembers the error that stands first
// in the text; what it could not read keeps its default, and nobody gets to see it.
#include "daemons/sluiced/config.hpp"

#include "shm/fd.hpp"
#include "sluice/topic.hpp"
#include "transport/quote.hpp"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/un.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

namespace sluice::broker {
namespace {

using transport::quoted;

constexpr std::uint64_t kMaxLimit = std::uint64_t{1} << 62;

// The names, as "a, b and c".
template <class Names>
std::string listed(const Names& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i != 0) text += i + 1 == names.size() ? " and " : ", ";
    text += names[i];
  }
  return text;
}

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

class Reader {
 public:
  Reader(std::string source, const Accounts& accounts)
      : source_(std::move(source)), accounts_(accounts) {}

  Result<Config> read(const toml::table& root) {
    Config config;
    config.rules.source = source_;
    read_table(
        root, "the file",
        {
            {"socket", [&](const toml::node& node) { config.socket = read_socket(node); }},
            {"log", [&](const toml::node& node) { config.log = read_log(node); }},
            {"limits", [&](const toml::node& node) { config.limits = read_limits(node); }},
            {"allow", [&](const toml::node& node) { config.rules.allow = read_rules(node, true); }},
            {"deny", [&](const toml::node& node) { config.rules.deny = read_rules(node, false); }},
        });
    if (first_) return error(*first_);
    return config;
  }

  [[nodiscard]] Error syntax_error(const toml::parse_error& problem) const {
    return error({problem.source().begin,
                  std::string(problem.description()) + "; correct the TOML here or just before"});
  }

 private:
  struct Problem {
    toml::source_position at;
    std::string text;
  };
  struct Field {
    const char* name;
    std::function<void(const toml::node&)> read;
  };

  [[nodiscard]] Error error(const Problem& problem) const {
    return {Errc::invalid_argument, 0,
            source_ + ":" + std::to_string(problem.at.line) + ":" +
                std::to_string(problem.at.column) + ": " + problem.text};
  }

  void fail(const toml::source_position& at, std::string text) {
    ++problems_;
    if (!first_ || at < first_->at) first_ = Problem{at, std::move(text)};
  }
  void fail(const toml::node& node, std::string text) {
    fail(node.source().begin, std::move(text));
  }

  // `where` is how a message calls the table.
  void read_table(const toml::table& table, const std::string& where,
                  const std::vector<Field>& fields) {
    for (const Field& field : fields) {
      if (const toml::node* node = table.get(field.name)) field.read(*node);
    }
    for (const auto& [key, node] : table) {
      const std::string_view name = key.str();
      if (std::any_of(fields.begin(), fields.end(),
                      [&](const Field& field) { return field.name == name; })) {
        continue;
      }
      std::vector<const char*> known;
      known.reserve(fields.size());
      for (const Field& field : fields) known.push_back(field.name);
      fail(key.source().begin,
           "there is no key " + quoted(name) + " in " + where + "; it may have " + listed(known));
    }
  }

  void read_table(const toml::node& node, const std::string& where,
                  const std::vector<Field>& fields) {
    if (const toml::table* table = node.as_table()) {
      read_table(*table, where, fields);
    } else {
      fail(node, where + " is a table; write [" + where.substr(1, where.size() - 2) +
                     "] and its keys on lines of their own");
    }
  }

  std::string read_string(const toml::node& node, const std::string& what) {
    if (const auto* text = node.as_string()) return text->get();
    fail(node, what + " is a string; put it between quotation marks");
    return {};
  }

  bool read_bool(const toml::node& node, const std::string& what) {
    if (const auto* value = node.as_boolean()) return value->get();
    fail(node, what + " is true or false; write one of them, without quotation marks");
    return false;
  }

  // One string, or an array of them. `use` gets each together with its node.
  template <class Use>
  void read_strings(const toml::node& node, const std::string& what, Use use) {
    if (const auto* text = node.as_string()) {
      use(text->get(), node);
      return;
    }
    const toml::array* array = node.as_array();
    if (array == nullptr) {
      fail(node, what + " is a string or an array of strings; put it between quotation marks");
    } else if (array->empty()) {
      fail(node, what + " is empty; name at least one, or leave the key out");
    } else {
      for (const toml::node& element : *array) {
        if (const auto* text = element.as_string()) {
          use(text->get(), element);
        } else {
          fail(element, what + " has an element that is no string; put it between quotation marks");
        }
      }
    }
  }

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

  LogOptions read_log(const toml::node& node) {
    LogOptions log;
    const auto read_level = [&](const toml::node& value) {
      const std::string name = read_string(value, "log.level");
      const auto* at = std::find(kLogLevels.begin(), kLogLevels.end(), name);
      if (at == kLogLevels.end()) {
        fail(value,
             "there is no log level " + quoted(name) + "; choose among " + listed(kLogLevels));
      } else {
        log.level = static_cast<LogLevel>(at - kLogLevels.begin());
      }
    };
    read_table(node, "[log]", {{"level", read_level}, {"json", [&](const toml::node& value) {
                                                         log.json = read_bool(value, "log.json");
                                                       }}});
    return log;
  }

  LimitTable read_limits(const toml::node& node) {
    LimitTable limits;
    read_table(node, "[limits]",
               {{"each_user",
                 [&](const toml::node& each) {
                   limits.each_user = read_values(each, "limits.each_user", limits.each_user);
                 }},
                {"in_all",
                 [&](const toml::node& all) {
                   limits.in_all = read_values(all, "limits.in_all", limits.in_all);
                 }},
                // The last, since what it leaves out is each_user's.
                {"user", [&](const toml::node& users) { read_users(users, limits); }}});
    return limits;
  }

  Limits read_values(const toml::node& node, const std::string& where, Limits limits) {
    std::vector<Field> fields;
    fields.reserve(kLimitFields.size());
    for (const LimitField& field : kLimitFields) {
      fields.push_back({field.name, [this, &limits, &where, &field](const toml::node& value) {
                          limits.*field.value = read_limit(value, where + "." + field.name, field);
                        }});
    }
    read_table(node, "[" + where + "]", fields);
    return limits;
  }

  std::uint64_t read_limit(const toml::node& node, const std::string& what,
                           const LimitField& field) {
    const bool in_bytes = field.value == &Limits::bytes;
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
      UserLimits own{name, read_values(value, "limits.user." + name, limits.each_user)};
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
    const std::size_t problems_before = problems_;
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
    if (problems_ == problems_before) check_subject(node, rule, everybody, allow);
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

  std::string source_;
  const Accounts& accounts_;
  std::optional<Problem> first_;
  std::size_t problems_ = 0;
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

// Each dot can be one more level of nested tables, and each level is a call deeper when toml++
// destroys them: a hundred thousand would end the process.
constexpr std::ptrdiff_t kMaxDots = 8'000;

Error too_many(const std::string& source, std::size_t most, const char* what) {
  return {Errc::invalid_argument, 0,
          source + " has more than " + std::to_string(most) + " " + what + "; shorten it"};
}

}  // namespace

Accounts system_accounts() { return {find_user, find_group}; }

Result<Config> parse_config(std::string_view text, std::string source_name,
                            const Accounts& accounts) {
  if (text.size() > kMaxConfigBytes) return too_many(source_name, kMaxConfigBytes, "bytes");
  if (std::count(text.begin(), text.end(), '.') > kMaxDots) {
    return too_many(source_name, kMaxDots, "dots");
  }
  Reader reader(std::move(source_name), accounts);
  // The one place where somebody else's exceptions are met.
  try {
    return reader.read(toml::parse(text));
  } catch (const toml::parse_error& problem) {
    return reader.syntax_error(problem);
  }
}

Result<Config> load_config(const std::string& path) {
  const auto cannot_read = [&path](int code) {
    return Error{Errc::system, code,
                 "cannot read the configuration " + path + ": " + std::strerror(code) +
                     "; correct the path or the file's rights"};
  };
  const shm::UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file.valid()) return cannot_read(errno);
  std::string text(kMaxConfigBytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(file.get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cannot_read(errno);
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  text.resize(size);
  return parse_config(text, path);
}

}  // namespace sluice::broker
