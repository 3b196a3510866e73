// Processes that publish, work, ask, serve, record and write down what they do (bus_actor.cpp);
// what becomes of them is for the test to say. In the end the histories are laid side by side:
// nothing that was acknowledged may be lost, nothing may be done twice where that is not allowed,
// and order is as promised.
#pragma once

#include "tests/process/kill_points.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/child.hpp"
#include "tests/support/emulated.hpp"

#ifdef SLUICE_RECORDER
#include "daemons/recorder/archive.hpp"
#endif

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::test {

class Histories : public testing::Test {
 protected:
  using Counts = std::map<std::string, std::uint64_t>;
  struct Line {
    char what = 0;
    std::string number;
    std::string more;
  };
  struct Role {
    std::string role;
    std::string name;
    std::string topic;
    bool mortal = true;  // may be killed
    Child child;
    std::uint64_t deaths = 0;
    std::string at;    // "point:visit", where it may still die; empty: nowhere
    std::string last;  // incarnation, which was not killed
  };

  void TearDown() override {
    const char* folder = std::getenv("SLUICE_HISTORY_KEEP");
    if (folder == nullptr || !HasFailure()) return;
    const auto options = std::filesystem::copy_options::recursive |
                         std::filesystem::copy_options::overwrite_existing;
    std::error_code ignored;
    std::filesystem::copy(folder_, folder, options, ignored);
  }

  static std::string incarnation_of(const std::string& number) {
    return number.substr(0, number.find('.', number.find('.') + 1));
  }
  static std::uint64_t count_of(const std::string& number) {
    return std::stoull(number.substr(incarnation_of(number).size() + 1));
  }

  // ---- the actors

  [[nodiscard]] std::string file(const std::string& name) const {
    return folder_.string() + "/" + name + ".history";
  }
  /// Until it is asked for again; read once while nothing is added.
  [[nodiscard]] const std::vector<Line>& lines_of(const std::string& name) const {
    std::error_code none;
    const std::uintmax_t size = std::filesystem::file_size(file(name), none);
    auto& [read, lines] = read_[name];
    if (none || size == read) return lines;
    read = size;
    lines.clear();
    std::ifstream in{file(name)};
    for (std::string text; std::getline(in, text);) {
      // "w number" or "w number more"
      const std::size_t space = std::min(text.find(' ', 2), text.size());
      lines.push_back({text[0], text.substr(2, space - 2),
                       space < text.size() ? text.substr(space + 1) : std::string{}});
    }
    return lines;
  }
  void begin_again(Role& role, const std::string& at = {}) {
    role.child = begin(role.role, role.name, role.topic, at);
    role.at = at;
  }
  [[nodiscard]] Child begin(const std::string& role, const std::string& name,
                            const std::string& topic, const std::string& at) const {
    std::vector<std::string> command{"/usr/bin/env"};
    if (!at.empty()) command.push_back("SLUICE_KILL_AT=" + at);
    if (emulated()) command.push_back(emulator());
#ifdef SLUICE_RECORDER
    if (role == "record") {
      command.insert(command.end(), {SLUICE_RECORDER, "--socket", broker_.socket(), "--file",
                                     records(), "--durable", "durable/#", "--log-level", "error"});
      return Child{command};
    }
#endif
    command.insert(command.end(), {SLUICE_ACTOR, broker_.socket(), role, name, file(name)});
    if (!topic.empty()) command.push_back(topic);
    return Child{command};
  }
  Role& cast(const std::string& role, const std::string& name, bool mortal,
             const std::string& topic = {}, const std::string& at = {}) {
    roles_.push_back({role, name, topic, mortal, begin(role, name, topic, at), 0, at, {}});
    return roles_.back();
  }
  /// Waits until it has written something: it subscribes before that.
  void await(const Role& role) const {
    EXPECT_TRUE(eventually([&] { return !lines_of(role.name).empty(); }, std::chrono::seconds{30}));
  }
  /// Whether it has died by itself: at its point, that is.
  bool has_died(Role& role) {
    const int code = role.child.wait(std::chrono::milliseconds{0});
    if (code == Child::kNotYet) return false;
    // A recorder that finds no broker says so and ends, for systemd to start it again.
    const bool may_end = role.role == "record" && broker_died_ && code == 1;
    EXPECT_TRUE(code == -SIGKILL || may_end) << role.name << " ended by itself: " << code;
    ++role.deaths;
    ++died_at_points_;
    return true;
  }
  static void kill(Role& role) {
    (void)role.child.end(SIGKILL);
    ++role.deaths;
  }
  [[nodiscard]] std::uint64_t deaths_of(std::string_view role) const {
    std::uint64_t sum = 0;
    for (const Role& actor : roles_) sum += actor.role == role ? actor.deaths : 0;
    return sum;
  }

  [[nodiscard]] bool plays(std::string_view role) const {
    return std::any_of(roles_.begin(), roles_.end(),
                       [&](const Role& actor) { return actor.role == role; });
  }
  /// Whether that becomes true; whoever dies meanwhile is started again.
  template <class Done>
  bool goes_on(Done done) {
    return eventually(
        [&] {
          for (Role& role : roles_) {
            if (role.mortal && has_died(role)) begin_again(role);
          }
          return done();
        },
        std::chrono::seconds{60});
  }

  /// Who makes something ends first, who deals with it last.
  void end_all() {
    for (const Role& role : roles_) {  // at once: a busy machine takes its time for each
      if (!role.at.empty() && role.child.pid() > 0) role.child.send(SIGKILL);
    }
    for (Role& role : roles_) {  // who has died at a point, or still would have
      if (has_died(role)) {
        begin_again(role);
      } else if (!role.at.empty()) {
        kill(role);
        begin_again(role);
      }
    }
    const std::size_t before = count("file", 'h').size();
    EXPECT_TRUE(!plays("record") || goes_on([&] { return count("file", 'h').size() > before; }));
    end_some({"ask", "count", "produce", "tell", "file"});
    end_some({"serve", "keep", "work"});
    end_some({"handle", "listen"});
    EXPECT_TRUE(eventually([&] { return letters_missing() == 0 && consumer_misses().empty(); },
                           std::chrono::seconds{60}));
    end_some({"bury", "consume"});
    end_some({"record"});
  }
  void end_some(const std::vector<std::string_view>& kinds) {
    const auto meant = [&](const Role& role) {
      return std::find(kinds.begin(), kinds.end(), role.role) != kinds.end();
    };
    for (Role& role : roles_) {
      if (!meant(role)) continue;
      role.last = role.name + "." + std::to_string(role.child.pid());
      role.child.send(SIGTERM);
    }
    for (Role& role : roles_) {
      if (!meant(role)) continue;
      const int code = role.child.wait(std::chrono::seconds{60});
      // Whoever was only just started did not listen yet.
      EXPECT_TRUE(code == 0 || (code == -SIGTERM && role.mortal)) << role.name << ": " << code;
    }
  }

  /// How often each number stands in lines of that kind, of all actors of the role.
  [[nodiscard]] Counts count(std::string_view role, char what) const {
    Counts found;
    each(role, [&](const Role&, const Line& line) {
      if (line.what == what) ++found[line.number];
    });
    return found;
  }
  void each(std::string_view role,
            const std::function<void(const Role&, const Line&)>& look) const {
    for (const Role& actor : roles_) {
      if (actor.role != role) continue;
      for (const Line& line : lines_of(actor.name)) look(actor, line);
    }
  }
  static std::uint64_t again(const Counts& counts) {
    std::uint64_t sum = 0;
    for (const auto& [number, times] : counts) sum += times - 1;
    return sum;
  }

  // ---- what is promised

  /// Of all that is begun the end is known; but of the last thing of one that was killed.
  void expect_ends(std::string_view role, std::string_view ends) const {
    for (const Role& actor : roles_) {
      if (actor.role != role) continue;
      std::map<std::string, std::string> open;  // by incarnation
      std::uint64_t unfinished = 0;
      for (const Line& line : lines_of(actor.name)) {
        std::string& number = open[incarnation_of(line.number)];
        if (line.what == 'i') {
          EXPECT_EQ(number, "") << "has no end";
          number = line.number;
        } else if (number == line.number && ends.find(line.what) != std::string_view::npos) {
          number.clear();
        }
      }
      for (const auto& [incarnation, number] : open) unfinished += number.empty() ? 0 : 1;
      EXPECT_LE(unfinished, actor.deaths) << "of " << actor.name;
    }
  }

  /// Tasks on `topic`, done as the letters of `done` say: none that is owed is missing, and none
  /// is done that was said to have failed.
  void expect_done(const std::string& topic, const Counts& begun, const Counts& done) const {
    each("produce", [&](const Role& producer, const Line& line) {
      if (producer.topic != topic) return;
      // Acknowledged: the producer was told so; or it lived on, so that its stream kept it.
      const bool owed = line.what == 'h' || (line.what == 'q' && !producer.mortal);
      EXPECT_TRUE(!owed || done.contains(line.number)) << line.number << " was never done";
      EXPECT_FALSE(line.what == 'f' && begun.contains(line.number))
          << line.number << " was begun, and its producer told that it had failed";
      EXPECT_FALSE(line.what == 'u' && !producer.mortal) << line.number;
    });
  }

  void check_work() const {
    expect_ends("produce", "qf");
    const Counts done = count("work", 'd');
    expect_done("work", count("work", 's'), done);
    // "done" is written just before it is acknowledged: one for each worker that died then.
    EXPECT_LE(again(done), deaths_of("work")) << "tasks were done again";
  }

  void check_orders() const {
    expect_ends("produce", "qf");
    const Counts done = count("handle", 'd'), letters = count("bury", 'l');
    Counts ended = done;
    for (const auto& [number, times] : letters) ended[number] += times;
    Counts begun = ended;
    for (const char what : {'x', 'r'}) {
      for (const auto& [number, times] : count("handle", what)) begun[number] += times;
    }
    for (const std::string& number : letters_gone()) ++ended[number];
    expect_done("orders", begun, ended);
    // No more than the credits of each handler that died.
    EXPECT_LE(again(ended), 4 * deaths_of("handle")) << "orders were dealt with again";
  }
  /// Orders whose handler may have died with the dead letter: those that are published while there
  /// is no broker have nobody yet who could have heard of them.
  [[nodiscard]] std::set<std::string> letters_gone() const {
    std::set<std::string> gone;
    if (!broker_died_) return gone;
    Counts ended = count("handle", 'd');
    for (const auto& [number, times] : count("bury", 'l')) ended[number] += times;
    each("handle", [&](const Role& handler, const Line& line) {
      const bool failed = line.what == 'x' || line.what == 'r';
      if (failed && line.more != handler.last && !ended.contains(line.number)) {
        gone.insert(line.number);
      }
    });
    return gone;
  }
  /// Orders that have not come to their end, and whose producer lived.
  [[nodiscard]] std::uint64_t letters_missing() const {
    Counts ended = count("handle", 'd');
    for (const auto& [number, times] : count("bury", 'l')) ended[number] += times;
    for (const std::string& number : letters_gone()) ++ended[number];
    std::uint64_t missing = 0;
    each("produce", [&](const Role& producer, const Line& line) {
      if (producer.topic != "orders") return;
      const bool owed = line.what == 'h' || (line.what == 'q' && !producer.mortal);
      missing += owed && !ended.contains(line.number) ? 1 : 0;
    });
    return missing;
  }

  /// In order, once, and nothing missing from the first that a listener got of an incarnation up to
  /// the last; where the listener lived on, up to the last that was published to it.
  void check_news() const {
    expect_ends("tell", "qf");
    for (const Role& listener : roles_) {
      if (listener.role != "listen") continue;
      std::map<std::pair<std::string, std::string>, std::uint64_t> last;
      for (const Line& line : lines_of(listener.name)) {
        const std::uint64_t number = count_of(line.number);
        const auto [at, first] =
            last.emplace(std::pair{line.more, incarnation_of(line.number)}, number);
        if (first) continue;
        EXPECT_EQ(number, at->second + 1) << "after " << line.number << " for " << line.more;
        at->second = number;
      }
      each("tell", [&](const Role& teller, const Line& line) {
        if (teller.topic != listener.topic || line.what != 'q' || line.more == "0") return;
        const auto at = last.find({listener.last, incarnation_of(line.number)});
        // A mortal one may have come after this, in place of one that was known to be attached.
        if (at == last.end() && listener.mortal) return;
        const std::uint64_t heard = at == last.end() ? 0 : at->second;
        EXPECT_LE(count_of(line.number), heard)
            << line.number << " was published to " << listener.last;
      });
    }
  }

  /// Whatever was answered was handled; what may be handled once was handled once at most; what
  /// nobody served, or was refused, was not handled.
  void check_requests() const {
    expect_ends("ask", "oun!f");
    const Counts handled = count("serve", 'x');
    each("ask", [&](const Role&, const Line& line) {
      EXPECT_NE(line.what, '!') << line.number << " got another one's answer";
      EXPECT_TRUE(line.what != 'o' || handled.contains(line.number))
          << line.number << " was answered by nobody";
      // One that may be handled twice may have been, before the attempt that found nobody.
      const bool not_handled = line.what == 'n' || line.what == 'f';
      EXPECT_FALSE(not_handled && line.number.ends_with(".e") && handled.contains(line.number))
          << line.number;
    });
    for (const auto& [number, times] : handled) {
      EXPECT_TRUE(times == 1 || number.ends_with(".i")) << number << ", " << times << " times";
    }
  }

  /// No update is lost: nobody counted to the same number, and the last is as high as the number of
  /// those that went well, or of those that perhaps did beside them.
  void check_register() const {
    expect_ends("count", "ofu");
    std::set<std::uint64_t> reached;
    std::uint64_t well = 0, begun = 0, failed = 0;
    each("count", [&](const Role&, const Line& line) {
      begun += line.what == 'i' ? 1 : 0;
      failed += line.what == 'f' ? 1 : 0;
      if (line.what != 'o') return;
      ++well;
      EXPECT_TRUE(reached.insert(std::stoull(line.more)).second) << line.more << " twice";
    });
    std::uint64_t value = 0;
    for (const Role& keeper : roles_) {
      if (keeper.role == "keep") std::ifstream{file(keeper.name) + ".state"} >> value;
    }
    EXPECT_GE(value, well) << "what was answered is lost";
    EXPECT_LE(value, begun - failed) << "what was refused was done";
    EXPECT_TRUE(reached.empty() || *reached.rbegin() <= value);
  }

#ifdef SLUICE_RECORDER
  [[nodiscard]] std::string records() const { return folder_.string() + "/records.db"; }
  /// The numbers that are on the disk, in order.
  [[nodiscard]] std::vector<std::string> recorded() const {
    std::vector<std::string> numbers;
    recorder::Query query;
    query.filter = "durable/#";
    for (bool more = true; more;) {
      auto page = recorder::Archive{records()}.read(query);
      EXPECT_TRUE(page) << page.error().message;
      if (!page) break;
      for (const recorder::Record& record : page->records) {
        numbers.push_back(record.payload);
        query.after_row = record.row;
      }
      more = page->more;
    }
    return numbers;
  }
  /// What is recorded and the consumer has not got.
  [[nodiscard]] std::vector<std::string> consumer_misses() const {
    std::vector<std::string> missing;
    if (!plays("consume")) return missing;
    const Counts consumed = count("consume", 'd');
    for (const std::string& number : recorded()) {
      if (!consumed.contains(number)) missing.push_back(number);
    }
    return missing;
  }
  void check_records() const {
    expect_ends("file", "qf");
    const std::vector<std::string> all = recorded();
    Counts there;
    std::map<std::string, std::uint64_t> last;
    for (const std::string& number : all) {
      EXPECT_EQ(++there[number], 1u) << number << " is recorded twice";
      std::uint64_t& before = last[incarnation_of(number)];
      EXPECT_GT(count_of(number), before) << number;
      before = count_of(number);
    }
    each("file", [&](const Role& filer, const Line& line) {
      const bool owed = line.what == 'h' || (line.what == 'q' && !filer.mortal);
      EXPECT_TRUE(!owed || there.contains(line.number)) << line.number << " is not recorded";
      EXPECT_FALSE(line.what == 'f' && there.contains(line.number)) << line.number;
      EXPECT_FALSE(line.what == 'u' && !filer.mortal) << line.number;
    });
    // Of all that is recorded the consumer has got everything, in order; twice only what its death
    // came in between of.
    const Counts consumed = count("consume", 'd');
    for (const auto& [number, times] : consumed) EXPECT_TRUE(there.contains(number)) << number;
    std::map<std::pair<std::string, std::string>, std::uint64_t> heard;
    each("consume", [&](const Role&, const Line& line) {
      std::uint64_t& before = heard[{line.more, incarnation_of(line.number)}];
      EXPECT_GT(count_of(line.number), before) << line.number << " for " << line.more;
      before = count_of(line.number);
    });
    EXPECT_LE(again(consumed), deaths_of("consume") * (1 + kTold * deaths_of("record")));
  }
  // What a recorder that dies may have been told and not written: no more than it sends at a time.
  static constexpr std::uint64_t kTold = 256;
#else
  [[nodiscard]] static std::vector<std::string> consumer_misses() { return {}; }
#endif

  // Of histories and records, where there is any: no power is cut here, and a disk that is slow at
  // times would be what is tested.
  static std::filesystem::path folder_in_memory() {
    std::error_code none;
    const bool memory = std::filesystem::is_directory("/dev/shm", none);
    std::string name = (memory ? "/dev/shm" : "/tmp") + std::string{"/sluice-history-XXXXXX"};
    if (::mkdtemp(name.data()) != nullptr) return name;
    name = "/tmp/sluice-history-XXXXXX";
    return ::mkdtemp(name.data());
  }

  ~Histories() override { std::filesystem::remove_all(folder_); }

  BrokerProcess broker_{SLUICE_SLUICED};
  std::filesystem::path folder_ = folder_in_memory();
  std::list<Role> roles_;
  bool broker_died_ = false;
  std::uint64_t died_at_points_ = 0;
  mutable std::map<std::string, std::pair<std::uintmax_t, std::vector<Line>>> read_;
};

}  // namespace sluice::test
