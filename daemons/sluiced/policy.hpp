// Who may do what.
//
// A rule says whom it is about, which actions, and which topics. What somebody asks for is allowed
// when one [[allow]] rule includes all of it, and no [[deny]] rule touches any part of it.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::broker {

/// What a right is about. A new one is added here and in kActions.
enum class Action : std::uint8_t {
  publish,    ///< Create a stream under a topic.
  subscribe,  ///< Read streams whose topics a filter matches.
  monitor,    ///< See their counters, not what they carry.
  request,    ///< Ask services whose names a filter matches.
  serve,      ///< Answer for them.
  record,     ///< Say of messages that they are on the disk: join the group kRecorderGroup.
  lend,       ///< Publish what lies in another system's memory. An [[allow]] must name it.
};
struct NamedAction {
  Action action;
  const char* name;  ///< In the configuration, and in "may not <name>".
};
inline constexpr std::array<NamedAction, 7> kActions{{
    {Action::publish, "publish"},
    {Action::subscribe, "subscribe"},
    {Action::monitor, "monitor"},
    {Action::request, "request"},
    {Action::serve, "serve"},
    {Action::record, "record"},
    {Action::lend, "lend"},
}};
const char* to_string(Action action) noexcept;

/// Who asks. All but the node's name is the kernel's word, or looked up from it; a node's name is
/// what the process calls itself.
struct Identity {
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  std::vector<gid_t> groups;  ///< Supplementary ones.
  pid_t pid = 0;
  std::string user_name;  ///< Empty when the system knows none.
  std::string node_name;
  std::uint64_t node_id = 0;
};

/// A user or a group.
struct Account {
  std::string name;
  std::uint32_t id = 0;
};

/// One [[allow]] or [[deny]]. It is about those who are among its users, and among its groups, and
/// whose node is among its nodes; an empty list leaves nobody out.
struct Rule {
  std::uint32_t line = 0;  ///< Where it begins in the file.
  std::vector<Account> users;
  std::vector<Account> groups;
  std::vector<std::string> nodes;    ///< Names, or beginnings of names with '*' at the end.
  std::vector<Action> actions;       ///< None: all; of an [[allow]]: but lend.
  std::vector<std::string> filters;  ///< With %u, %n and %%; none: every topic, '$' ones included.
};

struct Rules {
  std::string source;  ///< The file, for messages.
  std::vector<Rule> allow;
  std::vector<Rule> deny;
};

/// Yes, or no with a sentence that says why, and what would allow it.
struct Verdict {
  bool allowed = false;
  std::string reason;
  explicit operator bool() const noexcept { return allowed; }
};

/// Puts names into the filter of a rule: %u is the user's, %n the node's, %% a percent sign. Which
/// of the two could not be put in is said by `missing` ('u' or 'n'); then `text` is what stands
/// before.
struct Expansion {
  std::string text;
  char missing = 0;
};
Expansion expand(std::string_view filter, std::string_view user_name, std::string_view node_name);

/// The rules in force. Immutable, hence thread-safe; a changed file makes a new one.
class Policy {
 public:
  /// Without any [[allow]], the broker's own user and the members of its group may do all.
  Policy(Rules rules, uid_t own_uid, gid_t own_gid);

  /// Whether anything is allowed to `who` at all. To be asked when the node's name is known.
  [[nodiscard]] Verdict may_connect(const Identity& who) const;

  /// Whether all that `filter` (for publishing: a topic; for request and serve: a service's name)
  /// matches is allowed by the rules. An invalid one is not.
  [[nodiscard]] Verdict may(const Identity& who, Action action, std::string_view filter) const;

  /// Whether a stream may be created under `topic`, or `filter` be subscribed to. As may(), but
  /// for topics with a meaning (topic_rules.cpp).
  [[nodiscard]] Verdict may_publish(const Identity& who, std::string_view topic) const;
  [[nodiscard]] Verdict may_subscribe(const Identity& who, std::string_view filter) const;

 private:
  /// Why a [[deny]] refuses it; nothing when none does. `everything`: one without filters, too.
  [[nodiscard]] std::optional<std::string> denied(const Identity& who, Action action,
                                                  std::string_view filter, bool everything) const;
  /// May because of what it is, without an [[allow]]; a [[deny]] still wins.
  [[nodiscard]] Verdict may_anyway(const Identity& who, Action action,
                                   std::string_view filter) const;
  /// The action on a service, which a [[deny]] of the topic itself refuses as well.
  [[nodiscard]] Verdict may_for_service(const Identity& who, Action action,
                                        std::string_view service, Action literal,
                                        std::string_view filter) const;
  [[nodiscard]] Verdict may_publish_system(const Identity& who, std::string_view topic) const;
  /// Whether the filters of an [[allow]] name it; one without filters does not.
  [[nodiscard]] bool is_named(const Identity& who, Action action, std::string_view filter) const;
  [[nodiscard]] std::string place_of(const Rule& rule) const;
  /// What to add to the configuration.
  [[nodiscard]] std::string remedy(const Identity& who, const std::string& more) const;

  Rules rules_;
  uid_t own_uid_;
  std::string default_;  ///< Says who is let in without [[allow]]; empty when there is one.
};

}  // namespace sluice::broker
