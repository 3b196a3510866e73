// SIGKILL at every named point of the bus and of the recorder: what was promised holds, and the one
// that comes next goes on.
//
// For each point the processes of one pattern are started, one of them to die there, which it must;
// it is started again, all go on for a while, and their histories are looked at (history.hpp).
#include "tests/process/history.hpp"

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

std::set<std::string> points() {
  std::set<std::string> all = kill_points("transport/bus");
#ifdef SLUICE_RECORDER
  all.merge(kill_points("daemons/recorder"));
#endif
  return all;
}

class BusKillTest : public Histories, public testing::WithParamInterface<std::string> {
 protected:
  // Starts the processes of the point's pattern; the one that is to die.
  Role& stage(const std::string& at) {
    const std::string part = at.substr(0, at.find('.'));
    if (part == "responder" || part == "requester") {
      const bool serves = part == "responder";
      Role& server = cast("serve", "s1", serves, {}, serves ? at : "");
      cast("serve", "s2", false);
      cast("ask", "a1", false);
      Role& asker = cast("ask", "a2", !serves, {}, serves ? "" : at);
      return serves ? server : asker;
    }
    if (part == "dispatcher") {
      await(cast("bury", "b1", false));
      Role& handler = cast("handle", "g1", true, {}, at);
      cast("handle", "g2", false);
      cast("produce", "o1", false, "orders");
      return handler;
    }
    if (part == "state") {
      Role& keeper = cast("keep", "k1", true, {}, at);
      cast("count", "c1", false);
      cast("count", "c2", false);
      return keeper;
    }
    Role& recorder = cast("record", "recorder", true, {}, at);
    cast("file", "f1", false);
    cast("consume", "reader", true);
    return recorder;
  }
  // How much has come to its good end.
  [[nodiscard]] std::size_t ended() const {
    return count("ask", 'o').size() + count("produce", 'h').size() + count("count", 'o').size() +
           count("consume", 'd').size();
  }
};

TEST_P(BusKillTest, WhatWasPromisedHolds) {
  for (const char* visit : {":1", ":3"}) {
    SCOPED_TRACE(GetParam() + visit);
    roles_.clear();
    read_.clear();
    Role& victim = stage(GetParam() + visit);
    // Consumers that come and go are what the recorder makes streams anew for. One goes when it has
    // consumed something, however long its start takes.
    std::size_t consumed = 0;
    const auto one_goes = [&] {
      if (!GetParam().starts_with("consumers.stream")) return;
      const std::size_t now = count("consume", 'd').size();
      if (now == consumed) return;
      consumed = now;
      for (Role& role : roles_) {
        if (role.role != "consume") continue;
        kill(role);
        begin_again(role);
      }
    };
    ASSERT_TRUE(eventually(
        [&] {
          const bool died = has_died(victim);
          if (!died) one_goes();
          return died;
        },
        30s))
        << "the point was never reached: the test does not test it";
    const std::size_t before = ended();
    begin_again(victim);
    EXPECT_TRUE(eventually([&] { return ended() > before + 20; }, 100s)) << "nobody goes on";
    end_all();
    check_requests();
    check_orders();
    check_register();
#ifdef SLUICE_RECORDER
    if (std::filesystem::exists(records())) check_records();
#endif
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      std::filesystem::remove(entry);
    }
  }
}

std::string name_of(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) c = c == '.' ? '_' : c;
  return name;
}
INSTANTIATE_TEST_SUITE_P(AtPoint, BusKillTest, testing::ValuesIn(points()), name_of);

TEST(BusKillPoints, TheSourcesHaveKillPoints) {
  EXPECT_GE(kill_points("transport/bus").size(), 8u);
  EXPECT_GE(kill_points("daemons/recorder").size(), 6u);
}

}  // namespace
}  // namespace sluice::test
