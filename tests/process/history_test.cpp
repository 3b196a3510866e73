// What the bus promises, checked as Jepsen does it: processes that publish, work, ask, serve, count
// and record write down what they do; they and the broker are killed, stopped and started again at
// random and at named points; in the end the histories are laid side by side (history.hpp).
//
// SLUICE_HISTORY_SECONDS says how long; a failure prints the seed (SLUICE_HISTORY_SEED), and leaves
// the histories in SLUICE_HISTORY_KEEP.
#include "tests/process/history.hpp"

#include <cstdio>
#include <cstdlib>
#include <random>

namespace sluice::test {
namespace {

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

constexpr std::uint64_t kFewestKills = 5;  // on a slow machine too

class History : public Histories {
 protected:
  History() : seed_(number_from("SLUICE_HISTORY_SEED", std::random_device{}())), random_(seed_) {
    const auto add = [&](const char* folder, std::vector<std::string>& to) {
      const std::set<std::string> points = kill_points(folder);
      to.insert(to.end(), points.begin(), points.end());
    };
    add("shm", shm_points_);
    add("transport/bus", own_points_);
    add("daemons/recorder", own_points_);
  }

  std::uint64_t draw(std::uint64_t below) {
    return std::uniform_int_distribution<std::uint64_t>{0, below - 1}(random_);
  }

  // Where a process of that role shall die, often; of its own points the ones it comes to soon.
  std::string point_for(std::string_view role) {
    if (!SLUICE_ACTOR_CAN_DIE || draw(2) == 0) return {};
    static const std::multimap<std::string_view, std::string_view> kParts{
        {"ask", "requester."},    {"count", "requester."}, {"serve", "responder."},
        {"keep", "responder."},   {"keep", "state."},      {"handle", "dispatcher."},
        {"record", "consumers."}, {"record", "store."},    {"record", "recording."}};
    std::vector<std::string> own;
    const auto [first, last] = kParts.equal_range(role);
    for (auto part = first; part != last; ++part) {
      for (const std::string& point : own_points_) {
        if (point.starts_with(part->second)) own.push_back(point);
      }
    }
    if (own.empty() || draw(2) == 0) {
      return shm_points_[draw(shm_points_.size())] + ":" + std::to_string(1 + draw(40));
    }
    return own[draw(own.size())] + ":" + std::to_string(1 + draw(20));
  }

  void cast_mortal(const std::string& role, const std::string& name,
                   const std::string& topic = {}) {
    cast(role, name, true, topic, point_for(role));
  }

  void harm_for(std::chrono::seconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end || killed_ < kFewestKills) {
      std::this_thread::sleep_for(std::chrono::milliseconds{20 + draw(80)});
      for (Role& role : roles_) {  // whoever has died at a point
        if (!role.mortal || !has_died(role)) continue;
        begin_again(role, point_for(role.role));
      }
      const std::uint64_t what = draw(10);
      if (what == 0) {
        broker_.kill(SIGKILL);
        broker_died_ = true;
        std::this_thread::sleep_for(std::chrono::milliseconds{draw(100)});
        broker_.start();
        continue;
      }
      Role& victim = *std::next(roles_.begin(), static_cast<std::ptrdiff_t>(draw(roles_.size())));
      if (!victim.mortal) continue;
      if (what <= 2) {
        victim.child.send(SIGSTOP);
        std::this_thread::sleep_for(std::chrono::milliseconds{draw(60)});
        victim.child.send(SIGCONT);
        continue;
      }
      kill(victim);
      ++killed_;
      begin_again(victim, point_for(victim.role));
    }
  }

  std::uint64_t seed_;
  std::mt19937_64 random_;
  std::vector<std::string> shm_points_, own_points_;
  std::uint64_t killed_ = 0;
};

TEST_F(History, KeepsWhatTheBusPromises) {
  SCOPED_TRACE("SLUICE_HISTORY_SEED=" + std::to_string(seed_));
  // Of each kind one that lives through all of it: its promises must all be kept.
  cast("listen", "listener", false, "news");
  cast_mortal("listen", "forgetful", "rumours");
  cast("produce", "steady", false, "work");
  cast_mortal("produce", "mortal", "work");
  cast_mortal("work", "w1");
  cast_mortal("work", "w2");
  cast("work", "w3", false);
  cast_mortal("tell", "t1", "news");
  cast("tell", "t2", false, "news");
  cast_mortal("tell", "t3", "rumours");
  cast("tell", "t4", false, "rumours");
  cast("ask", "a1", false);
  cast_mortal("ask", "a2");
  cast_mortal("serve", "s1");
  cast_mortal("serve", "s2");
  cast_mortal("keep", "k1");
  cast("count", "c1", false);
  cast_mortal("count", "c2");
  await(cast("bury", "b1", false));
  cast("produce", "o1", false, "orders");
  cast_mortal("handle", "g1");
  cast("handle", "g2", false);
#ifdef SLUICE_RECORDER
  cast_mortal("record", "recorder");
  cast("file", "f1", false);
  cast_mortal("file", "f2");
  cast_mortal("consume", "reader");
#endif
  // However slow the machine is: everybody has begun.
  ASSERT_TRUE(goes_on([&] {
    return !count("produce", 'h').empty() && !count("ask", 'o').empty() &&
           !count("count", 'o').empty() && !count("bury", 'l').empty() &&
           (!plays("record") || (!count("file", 'h').empty() && !count("consume", 'd').empty()));
  }));
  harm_for(std::chrono::seconds{number_from("SLUICE_HISTORY_SECONDS", 6)});
  end_all();

  check_work();
  check_orders();
  check_news();
  check_requests();
  check_register();
#ifdef SLUICE_RECORDER
  check_records();
#endif
  const auto sum = [](const Counts& counts) {
    std::uint64_t all = 0;
    for (const auto& [number, times] : counts) all += times;
    return static_cast<unsigned long long>(all);
  };
  std::printf(
      "%llu killed, %llu died at points; tasks: %llu acknowledged, %llu done, %llu of them "
      "again; orders: %llu done, %llu dead letters; requests: %llu answered, %llu handled; "
      "counted: %llu; recorded: %llu, consumed: %llu\n",
      static_cast<unsigned long long>(killed_), static_cast<unsigned long long>(died_at_points_),
      sum(count("produce", 'h')), sum(count("work", 'd')),
      static_cast<unsigned long long>(again(count("work", 'd'))), sum(count("handle", 'd')),
      sum(count("bury", 'l')), sum(count("ask", 'o')), sum(count("serve", 'x')),
      sum(count("count", 'o')), sum(count("file", 'h')), sum(count("consume", 'd')));
  EXPECT_TRUE(!SLUICE_ACTOR_CAN_DIE || died_at_points_ > 0) << "no point was reached";
}

}  // namespace
}  // namespace sluice::test
