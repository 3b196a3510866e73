// sluice state: buckets of keys, with the habits of `nats kv`.
#include "sluice/state.hpp"

#include "sluice/topic.hpp"
#include "tools/sluice/bus_options.hpp"
#include "tools/sluice/session.hpp"
#include "tools/sluice/state_file.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/units.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>

namespace sluice::tools {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

struct StateOptions {
  Reach reach;
  std::string bucket;
  std::string key;
  std::string filter = "#";
  Payload value;
  std::uint64_t revision = 0;
  Duration timeout = 5s;
  bool json = false;
  // watch
  std::uint64_t count = 0;
  Duration watch_for{};
  bool changes = false;
  // keep
  std::string file;
  std::uint32_t max_keys = 1'000;
  std::uint64_t max_value_bytes = 4'096;
};

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}

// Text as it is, other values in hexadecimal.
void put_value(nlohmann::json& out, std::string_view value) {
  if (is_text(std::string{value})) {
    out["value"] = value;
    return;
  }
  std::string hex;
  for (const char c : value) hex += hex16(static_cast<unsigned char>(c)).substr(14);
  out["hex"] = hex;
}

// Connects, asks once, and prints what `show` makes of the answer.
template <class Ask, class Show>
int asked(const StateOptions& options, Ask ask, Show show) {
  catch_interrupts();
  auto node = connect(options.reach, "state");
  if (!node) return failed("state", node.error().message);
  auto state = State::create(*node, options.bucket);
  if (!state) return failed("state", state.error().message);
  CallOptions call;
  call.deadline = after(options.timeout);
  const StateValue answer = ask(*state, call);
  if (!answer.status.ok()) return failed_with("state", answer.status);
  print(show(answer));
  return 0;
}

std::string show_revision(const StateValue& answer) {
  return std::to_string(answer.revision) + "\n";
}

int run_get(const StateOptions& options) {
  return asked(
      options, [&](State& state, const CallOptions& call) { return state.get(options.key, call); },
      [&](const StateValue& answer) {
        const std::string_view value = text_of(answer.value);
        if (options.json) {
          nlohmann::json all{{"key", options.key}, {"revision", answer.revision}};
          put_value(all, value);
          return dumped(all) + "\n";
        }
        std::string text{value};
        if (::isatty(STDOUT_FILENO) != 0) text = clean(text);
        return text + "\n";
      });
}

int run_set(const StateOptions& options, bool compare) {
  if (options.value.has_text == options.value.has_file) {
    return misused("state", "give one of VALUE and --file");
  }
  const auto value = read_payload(options.value);
  if (!value) return failed("state", value.error().message);
  return asked(
      options,
      [&](State& state, const CallOptions& call) {
        return compare
                   ? state.compare_and_set(options.key, bytes_of(*value), options.revision, call)
                   : state.set(options.key, bytes_of(*value), call);
      },
      show_revision);
}

int run_del(const StateOptions& options) {
  return asked(
      options,
      [&](State& state, const CallOptions& call) {
        return state.erase(options.key, options.revision, call);
      },
      show_revision);
}

int run_keys(const StateOptions& options) {
  if (const auto checked = check_filter(options.filter); !checked) {
    return misused("state", checked.error().message);
  }
  std::vector<std::string> keys;
  return asked(
      options,
      [&](State& state, const CallOptions& call) {
        // Whether somebody keeps it, with a status: keys() has a sentence only.
        StateValue there = state.get("-", call);
        if (there.status.code != StatusCode::not_found && !there.status.ok()) return there;
        auto listed = state.keys(options.filter, call);
        if (!listed) return StateValue{{StatusCode::unknown, listed.error().message}};
        keys = std::move(*listed);
        return StateValue{};
      },
      [&](const StateValue&) {
        if (options.json) return dumped(nlohmann::json(keys)) + "\n";
        std::string text;
        for (const std::string& key : keys) text += clean(key) + "\n";
        return text;
      });
}

std::string show_change(const StateChange& change, bool json) {
  const std::string_view value = text_of(change.value);
  if (json) {
    nlohmann::json all{{"key", change.key},
                       {"revision", change.revision},
                       {"deleted", change.deleted},
                       {"initial", change.initial}};
    if (!change.deleted) put_value(all, value);
    return dumped(all) + "\n";
  }
  if (change.deleted) return joined({"DEL ", clean(change.key), "\n"});
  return joined({"PUT ", clean(change.key), " ",
                 ::isatty(STDOUT_FILENO) != 0 ? clean(value) : std::string{value}, "\n"});
}

int run_watch(const StateOptions& options) {
  if (const auto checked = check_filter(options.filter); !checked) {
    return misused("state", checked.error().message);
  }
  catch_interrupts();
  auto node = connect(options.reach, "state");
  if (!node) return failed("state", node.error().message);
  auto watch = StateWatch::create(*node, options.bucket, options.filter);
  if (!watch) return failed("state", watch.error().message);
  const Deadline deadline =
      options.watch_for.count() != 0 ? after(options.watch_for) : Deadline::max();
  std::uint64_t seen = 0;
  bool read = true;
  const auto changed = [&](const StateChange& change) {
    if (!read || (options.count != 0 && seen == options.count)) return;
    if (options.changes && change.initial) return;
    ++seen;
    read = print(show_change(change, options.json));
  };
  while (read && !interrupted() && (options.count == 0 || seen < options.count)) {
    (void)watch->step(std::min(deadline, after(200ms)), changed);
    if (steady_clock::now() >= deadline) return seen != 0 && options.count == 0 ? 0 : 1;
  }
  return 0;
}

std::atomic<StateKeeper*> keeping{nullptr};
void end_keeping(int) {
  if (StateKeeper* keeper = keeping) keeper->stop();
}

Result<void> restore(StateKeeper& keeper, const StateFile& file) {
  for (const auto& [key, value] : file.contents().values) {
    if (auto restored = keeper.restore(key, bytes_of(value.bytes), value.revision); !restored) {
      return restored;
    }
  }
  return {};
}

int run_keep(const StateOptions& options) {
  catch_interrupts();
  std::optional<StateFile> file;
  StateKeeperOptions with;
  with.max_keys = options.max_keys;
  with.max_value_bytes = options.max_value_bytes;
  if (!options.file.empty()) {
    auto opened = StateFile::open(options.file, options.bucket);
    if (!opened) return failed("state", opened.error().message);
    file.emplace(std::move(*opened));
    if (!file->set_aside().empty()) {
      (void)failed("state", clean(options.file) + " was damaged; it is " +
                                clean(file->set_aside()) + " now, and a new one is begun");
    }
    with.first_revision = file->contents().revision;
    with.store = [&file](std::string_view key, std::span<const std::byte> value,
                         std::uint64_t revision, bool deleted) {
      return file->store(key, text_of(value), revision, deleted);
    };
  }
  auto node = connect(options.reach, "state-keep");
  if (!node) return failed("state", node.error().message);
  auto keeper = StateKeeper::create(*node, options.bucket, std::move(with));
  if (!keeper) return failed("state", keeper.error().message);
  if (file) {
    if (auto restored = restore(**keeper, *file); !restored) {
      return failed("state", clean(options.file) + ": " + restored.error().message);
    }
  }
  keeping = keeper->get();
  struct sigaction action {};
  action.sa_handler = end_keeping;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  std::fprintf(stderr, "sluice state: the bucket '%s', %s\n", clean(options.bucket).c_str(),
               plural((*keeper)->size(), "key").c_str());
  const auto ran = interrupted() ? Result<void>{} : (*keeper)->run();
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
  keeping = nullptr;
  return ran ? 0 : failed("state", ran.error().message);
}

using Made = std::shared_ptr<StateOptions>;

CLI::App* add_operation(CLI::App& state, const Made& options, const char* name,
                        const char* description, bool with_key) {
  CLI::App* verb = state.add_subcommand(name, description);
  verb->add_option("BUCKET", options->bucket, "One level of a topic")->required();
  if (with_key) verb->add_option("KEY", options->key, "Levels, like a topic")->required();
  return verb;
}

void finish(CLI::App& verb, const Made& options, Run& run, int (*what)(const StateOptions&)) {
  add_reach(verb, options->reach);
  verb.callback([options, what, &run] { run = [options, what] { return what(*options); }; });
}

void add_value(CLI::App& verb, const Made& options, Run& run, int (*what)(const StateOptions&)) {
  const CLI::Option* text = verb.add_option("VALUE", options->value.text, "The new value");
  const CLI::Option* file = verb.add_option("-f,--file", options->value.file,
                                            "The value is in a file; - is standard "
                                            "input")
                                ->type_name("PATH");
  add_duration(verb, "--timeout", options->timeout, "Default: 5s");
  finish(verb, options, run, what);
  verb.callback([options, text, file, what, &run] {
    options->value.has_text = text->count() != 0;
    options->value.has_file = file->count() != 0;
    run = [options, what] { return what(*options); };
  });
}

void add_asking(CLI::App& state, const Made& options, Run& run) {
  CLI::App* get = add_operation(state, options, "get", "Print a key's value", true);
  get->add_flag("--json", options->json, "With its revision, as a JSON object");
  add_duration(*get, "--timeout", options->timeout, "Default: 5s");
  finish(*get, options, run, run_get);

  CLI::App* set = add_operation(state, options, "set", "Set a key; prints its revision", true);
  add_value(*set, options, run, [](const StateOptions& o) { return run_set(o, false); });

  CLI::App* cas = add_operation(state, options, "cas",
                                "Set a key if it is still at a revision; prints the new one", true);
  cas->add_option("REVISION", options->revision, "0: the key is not there")->required();
  add_value(*cas, options, run, [](const StateOptions& o) { return run_set(o, true); });

  CLI::App* del = add_operation(state, options, "del", "Delete a key", true);
  del->add_option("--revision", options->revision, "Only if it is still at this one")
      ->type_name("N");
  add_duration(*del, "--timeout", options->timeout, "Default: 5s");
  finish(*del, options, run, run_del);
}

void add_listing(CLI::App& state, const Made& options, Run& run) {
  CLI::App* ls = add_operation(state, options, "ls", "List keys", false);
  ls->add_option("FILTER", options->filter, "Which (default: #)");
  ls->add_flag("--json", options->json, "A JSON array");
  add_duration(*ls, "--timeout", options->timeout, "Default: 5s");
  finish(*ls, options, run, run_keys);

  CLI::App* watch =
      add_operation(state, options, "watch", "Print values, and then each change", false);
  watch->add_option("FILTER", options->filter, "Which keys (default: #)");
  watch->add_option("-C,--count", options->count, "End after so many")->type_name("N");
  add_duration(*watch, "-W,--timeout", options->watch_for, "End after this time");
  watch->add_flag("--changes", options->changes, "Leave out what was there before");
  watch->add_flag("--json", options->json, "A JSON object for each on a line");
  finish(*watch, options, run, run_watch);
}

void add_keeping(CLI::App& state, const Made& options, Run& run) {
  CLI::App* keep = add_operation(state, options, "keep", "Keep a bucket, until interrupted", false);
  keep->add_option("--file", options->file,
                   "On disk as well, before a change is acknowledged; read at the start")
      ->type_name("PATH");
  keep->add_option("--max-keys", options->max_keys, "Default: 1000")
      ->type_name("N")
      ->check(CLI::Range(1, 100'000));
  keep->add_option("--max-value-bytes", options->max_value_bytes, "Default: 4096")
      ->type_name("N")
      ->check(CLI::Range(1, 65'536));
  finish(*keep, options, run, run_keep);
}

}  // namespace

void add_state(CLI::App& app, Run& run) {
  auto options = std::make_shared<StateOptions>();
  CLI::App* verb = app.add_subcommand("state", "Get, set, watch and keep small shared state");
  verb->group(kBus);
  verb->require_subcommand(1);
  add_asking(*verb, options, run);
  add_listing(*verb, options, run);
  add_keeping(*verb, options, run);
  verb->footer(
      "One process keeps a bucket; everybody may ask for changes and watch.\n"
      "Exit code 0; 1 for a failure, 2 for bad usage; 15 when there is no such key, 20 when it is\n"
      "at another revision, 24 when nobody keeps the bucket, and others as of sluice request.\n\n"
      "Examples:\n"
      "  sluice state keep settings --file /var/lib/settings.state\n"
      "  sluice state set settings camera/front/rate 30\n"
      "  sluice state watch settings 'camera/#'");
}

}  // namespace sluice::tools
