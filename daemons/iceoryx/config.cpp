// Besides what each key says by itself, two rules must not feed each other: what one brings to a
// side the other one would take from there, and bring back as what the first one takes.
#include "daemons/iceoryx/config.hpp"

#include "daemons/common/toml_reader.hpp"
#include "sluice/topic.hpp"
#include "transport/quote.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace sluice::iceoryx {
namespace {

using transport::quoted;

constexpr std::array<const char*, 2> kSides{"iceoryx", "sluice"};
constexpr std::int64_t kMostPayload = std::int64_t{256} << 20;
constexpr std::size_t kMostRules = 128;

class Reader : public daemon::TomlReader {
 public:
  using TomlReader::TomlReader;

  Result<Config> read(const toml::table& root) {
    read_table(root, "the file",
               {{"socket", [this](const auto& n) { config_.socket = read_string(n, "socket"); }},
                {"node", [this](const auto& n) { config_.node = read_string(n, "node"); }},
                {"runtime", [this](const auto& n) { read_runtime(n); }},
                {"log", [this](const auto& n) { config_.log = read_log(n); }},
                {"route", [this](const auto& n) { each(n, "route", &Reader::read_route); }},
                {"service", [this](const auto& n) { each(n, "service", &Reader::read_service); }}});
    refuse_feeding();
    if (auto error = first_error()) return std::move(*error);
    return std::move(config_);
  }

 private:
  void read_runtime(const toml::node& node) {
    config_.runtime = read_string(node, "runtime");
    const bool fits = !config_.runtime.empty() && config_.runtime.size() <= 80 &&
                      config_.runtime.find('/') == std::string::npos;
    if (!fits) fail(node, "runtime is a name of 1 to 80 bytes without /; it is shown by iceoryx");
  }

  void each(const toml::node& node, const std::string& name,
            void (Reader::*read_one)(const toml::table&)) {
    const toml::array* array = node.as_array();
    if (array == nullptr) {
      fail(node, name + " is a list of tables; write [[" + name + "]] above each");
      return;
    }
    if (array->size() > kMostRules) {
      fail(node, "there are more than " + std::to_string(kMostRules) + " tables [[" + name +
                     "]]; use wildcards to write fewer");
      return;
    }
    for (const toml::node& element : *array) {
      const toml::table* table = element.as_table();
      if (table == nullptr) {
        fail(element, name + " is a list of tables; write [[" + name + "]] above each");
      } else {
        (this->*read_one)(*table);
      }
    }
  }

  Field side_field(std::optional<Side>& from) {
    return {"from", [this, &from](const toml::node& n) {
              const std::size_t before = problems();
              const auto side = static_cast<Side>(read_choice(n, "from", kSides));
              if (problems() == before) from = side;
            }};
  }
  Field id_field(const char* name, std::string& id) {
    return {name, [this, name, &id](const toml::node& n) { id = read_string(n, name); }};
  }
  template <class Number>
  Field number_field(const char* name, Number& number, std::int64_t least, std::int64_t most) {
    return {name, [this, name, &number, least, most](const toml::node& n) {
              number = static_cast<Number>(read_integer(n, name, least, most));
            }};
  }
  Field flag_field(const char* name, bool& flag) {
    return {name, [this, name, &flag](const toml::node& n) { flag = read_bool(n, name); }};
  }
  template <class Rule>
  static toml::source_position place_of(const Rule& rule) {
    return {rule.line, rule.column};
  }
  template <class Rule>
  static void set_place(const toml::table& table, Rule& rule) {
    rule.line = table.source().begin.line;
    rule.column = table.source().begin.column;
  }
  // Of two rules that stand in the file: at the second one.
  template <class Rule>
  void fail_both(const Rule& a, const Rule& b, std::string text) {
    fail(std::max(place_of(a), place_of(b)), std::move(text));
  }
  // Whether `from` is there, without which nothing else can be judged.
  bool has_side(const toml::table& table, const std::optional<Side>& from, const char* where) {
    if (!from && table.get("from") == nullptr) {
      fail(table,
           std::string(where) + R"( has no from; write from = "iceoryx" or from = "sluice")");
    }
    return from.has_value();
  }
  void refuse_key(const toml::table& table, const char* key, const std::string& why) {
    if (const toml::node* node = table.get(key)) fail(*node, std::string(key) + " " + why);
  }

  void read_route(const toml::table& table) {
    Route route;
    set_place(table, route);
    std::optional<Side> from;
    std::string topic, filter;
    read_table(table, "[[route]]",
               {side_field(from), id_field("service", route.ids.service),
                id_field("instance", route.ids.instance), id_field("event", route.ids.event),
                id_field("topic", topic), id_field("filter", filter),
                number_field("depth", route.depth, 1, kMostHeld - 1),
                number_field("max_held", route.max_held, 1, kMostHeld - 1),
                number_field("history", route.history, 0, kMostHistory),
                flag_field("envelope", route.envelope), flag_field("zero_copy", route.zero_copy),
                flag_field("user_header", route.user_header), id_field("type", route.type),
                number_field("type_bytes", route.type_bytes, 1, kMostPayload),
                number_field("type_alignment", route.type_alignment, 1, kMostPayload)});
    if (!has_side(table, from, "[[route]]")) return;
    route.from = *from;
    route.topic = route.from == Side::iceoryx ? topic : filter;
    const std::size_t before = problems();
    route.from == Side::iceoryx ? check_inward(table, route) : check_outward(table, route);
    check_numbers(table, route);
    if (problems() == before) config_.routes.push_back(std::move(route));
  }

  void check_numbers(const toml::table& table, const Route& route) {
    if (route.depth + route.max_held > kMostHeld) {
      fail(table, "depth and max_held together are " +
                      std::to_string(route.depth + route.max_held) +
                      ", and iceoryx lets a subscriber hold some " + std::to_string(kMostHeld) +
                      " chunks; make one of them smaller");
    }
    if (route.history > route.depth) {
      fail(table,
           "history is more than depth, and what is kept lies in the stream; make depth at "
           "least " +
               std::to_string(route.history));
    }
  }

  // Patterns of iceoryx's strings; those that are left out match everything.
  void check_patterns(const toml::table& table, ServiceIds& ids) {
    const auto check = [&](const char* key, std::string& id) {
      const toml::node* node = table.get(key);
      if (node == nullptr) {
        id = "*";
      } else if (id.size() > kMaxIdBytes) {
        fail(*node, std::string(key) + " has more than the 100 bytes of iceoryx's strings");
      }
    };
    check("service", ids.service);
    check("instance", ids.instance);
    check("event", ids.event);
  }

  void check_inward(const toml::table& table, Route& route) {
    refuse_key(table, "filter", R"(belongs to routes from = "sluice"; here it is topic)");
    refuse_key(table, "user_header",
               R"(belongs to routes from = "sluice"; the gateway's header is recognised anyway)");
    check_patterns(table, route.ids);
    check_type(table, route);
    const toml::node* node = table.get("topic");
    if (node == nullptr) {
      route.topic = "iceoryx/{service}/{instance}/{event}";
      return;
    }
    const auto made = Template::parse(route.topic, ids_placeholders());
    if (!made) {
      fail(*node, "topic: " + made.error().message);
    } else if (const auto checked = check_topic(made->expand({"a", "b", "c"})); !checked) {
      fail(*node, checked.error().message);
    }
  }

  // What a SubscriberOf compares.
  void check_type(const toml::table& table, const Route& route) {
    const bool any = table.get("type") != nullptr || table.get("type_bytes") != nullptr ||
                     table.get("type_alignment") != nullptr;
    if (!any) return;
    if (route.type.empty() || route.type_bytes == 0) {
      fail(table, "a type has a name and a size; write type = \"RadarObject\" and type_bytes = 24");
    } else if (route.envelope) {
      fail(table, "a message of the bus says its type by itself; leave out envelope or type");
    } else if ((route.type_alignment & (route.type_alignment - 1)) != 0 ||
               route.type_bytes % route.type_alignment != 0) {
      fail(table,
           "type_alignment is no power of two that divides type_bytes; write what alignof "
           "and sizeof say");
    }
  }

  void check_outward(const toml::table& table, Route& route) {
    for (const char* key : {"type", "type_bytes", "type_alignment"}) {
      refuse_key(table, key, R"(belongs to routes from = "iceoryx")");
    }
    refuse_key(table, "topic", R"(belongs to routes from = "iceoryx"; here it is filter)");
    refuse_key(table, "envelope", R"(belongs to routes from = "iceoryx")");
    refuse_key(table, "zero_copy",
               R"(belongs to routes from = "iceoryx"; the other way there is always one copy)");
    const toml::node* node = table.get("filter");
    if (node == nullptr) {
      fail(table,
           R"([[route]] has no filter; write which topics are carried, as filter = "a/+/b")");
      return;
    }
    if (const auto checked = check_filter(route.topic); !checked) {
      fail(*node, checked.error().message);
      return;
    }
    check_template(table, "service", route.ids.service, filter_placeholders(route.topic));
    check_template(table, "instance", route.ids.instance, filter_placeholders(route.topic));
    check_template(table, "event", route.ids.event, filter_placeholders(route.topic));
  }

  void check_template(const toml::table& table, const char* key, const std::string& text,
                      const std::vector<std::string>& names) {
    const toml::node* node = table.get(key);
    if (node == nullptr) {
      fail(table, std::string("there is no ") + key +
                      "; iceoryx names what is published by service, instance and event");
      return;
    }
    if (const auto made = Template::parse(text, names); !made) {
      fail(*node, std::string(key) + ": " + made.error().message);
    } else if (made->expand(std::vector<std::string>(names.size())).size() > kMaxIdBytes) {
      fail(*node, std::string(key) + " has more than the 100 bytes of iceoryx's strings");
    }
  }

  void read_service(const toml::table& table) {
    Service service;
    set_place(table, service);
    std::optional<Side> from;
    std::int64_t timeout_ms = service.timeout.count();
    read_table(table, "[[service]]",
               {side_field(from), id_field("service", service.ids.service),
                id_field("instance", service.ids.instance), id_field("event", service.ids.event),
                id_field("name", service.name),
                number_field("request_bytes", service.request_bytes, 1, kMostPayload),
                number_field("reply_bytes", service.reply_bytes, 1, kMostPayload),
                number_field("max_pending", service.max_pending, 1, kMostHeld),
                number_field("timeout_ms", timeout_ms, 1, 3'600'000)});
    if (!has_side(table, from, "[[service]]")) return;
    service.from = *from;
    service.timeout = std::chrono::milliseconds{timeout_ms};
    const std::size_t before = problems();
    check_service(table, service);
    if (problems() == before) config_.services.push_back(std::move(service));
  }

  void check_service(const toml::table& table, Service& service) {
    const bool inward = service.from == Side::iceoryx;
    if (inward) {
      // Clients cannot be discovered: what is offered to them must be said.
      check_template(table, "service", service.ids.service, {});
      check_template(table, "instance", service.ids.instance, {});
      check_template(table, "event", service.ids.event, {});
    } else {
      check_patterns(table, service.ids);
    }
    const toml::node* node = table.get("name");
    if (node == nullptr) {
      fail(table,
           R"([[service]] has no name; write which Sluice service it is, as name = "math/add")");
      return;
    }
    const auto made =
        Template::parse(service.name, inward ? std::vector<std::string>{} : ids_placeholders());
    if (!made) {
      fail(*node, "name: " + made.error().message);
    } else if (const auto checked = check_topic(made->expand({"a", "b", "c"})); !checked) {
      fail(*node, checked.error().message);
    }
  }

  // Of routes that were read without a problem, and so without Template::parse failing.
  static bool feed_each_other(const Route& inward, const Route& outward) {
    const auto glob = [&](const std::string& text) {
      return Template::parse(text, filter_placeholders(outward.topic)).value().as_glob();
    };
    const std::string brought =
        Template::parse(inward.topic, ids_placeholders()).value().as_filter();
    return filters_overlap(brought, outward.topic) &&
           globs_overlap(inward.ids.service, glob(outward.ids.service)) &&
           globs_overlap(inward.ids.instance, glob(outward.ids.instance)) &&
           globs_overlap(inward.ids.event, glob(outward.ids.event));
  }

  void refuse_feeding() {
    const auto line = [](const auto& rule) { return "line " + std::to_string(rule.line); };
    for (const Route& inward : config_.routes) {
      for (const Route& outward : config_.routes) {
        if (inward.from != Side::iceoryx || outward.from != Side::sluice) continue;
        if (!feed_each_other(inward, outward)) continue;
        fail_both(inward, outward,
                  "two routes would feed each other: " + to_string(inward) + " (" + line(inward) +
                      ") and " + to_string(outward) + " (" + line(outward) +
                      "); give one of them names that the other does not take");
      }
    }
    for (const Service& inward : config_.services) {
      for (const Service& outward : config_.services) {
        if (inward.from != Side::iceoryx || outward.from != Side::sluice) continue;
        const auto offered = Template::parse(outward.name, ids_placeholders()).value().as_filter();
        if (!matches(outward.ids, inward.ids) || !filter_matches(offered, inward.name)) continue;
        fail_both(inward, outward,
                  "two services would feed each other: what " + line(inward) +
                      " offers to iceoryx is what " + line(outward) +
                      " takes from there; narrow one of them");
      }
    }
  }

  Config config_;
};

}  // namespace

const std::vector<std::string>& ids_placeholders() {
  static const std::vector<std::string> kNames{"service", "instance", "event"};
  return kNames;
}

std::vector<std::string> filter_placeholders(std::string_view filter) {
  std::vector<std::string> names{"topic"};
  for (std::size_t i = 1; i <= wildcards(filter); ++i) names.push_back(std::to_string(i));
  return names;
}

std::string to_string(const Route& route) {
  const std::string ids = quoted(to_string(route.ids));
  return route.from == Side::iceoryx ? "from iceoryx " + ids + " to " + quoted(route.topic)
                                     : "from " + quoted(route.topic) + " to iceoryx " + ids;
}

Result<Config> parse_config(std::string_view text, std::string source_name) {
  Reader reader{source_name};
  return daemon::read_toml(text, reader, source_name);
}

Result<Config> load_config(const std::string& path) {
  auto text = daemon::load_toml(path, "the configuration");
  if (!text) return std::move(text).error();
  return parse_config(*text, path);
}

}  // namespace sluice::iceoryx
