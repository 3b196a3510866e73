// Programs of single letters, so that every transition can be read as one line.
#include "sluice/breaker.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace sluice {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

BreakerOptions small() {
  BreakerOptions options;
  options.window_ns = 1'000 * kMs;
  options.minimum_calls = 4;
  options.slow_ns = 100 * kMs;
  options.open_ns = 500 * kMs;
  options.probes = 2;
  return options;
}

/// Does one thing for each letter, and tells the state that comes out.
///   g f    a call that goes well, that fails        s x   the same, slow
///   ( )    begins a call and keeps it; ends the oldest kept one well
///   ! ~    ends the oldest kept one with a failure; abandons it
///   n      asks, and must be refused
///   t w    50 ms pass; 500 ms pass
///   O C R  forced open, forced closed, back to the rules
class Machine {
 public:
  explicit Machine(const BreakerOptions& options = small()) : breaker_(options) {}

  BreakerState run(const std::string& program) {
    for (const char c : program) step(c);
    return breaker_.state(now_);
  }
  [[nodiscard]] CircuitBreaker::Figures figures() const { return breaker_.figures(now_); }
  CircuitBreaker& breaker() { return breaker_; }
  [[nodiscard]] std::uint64_t now() const { return now_; }

 private:
  void step(char c) {
    switch (c) {
      case 'g':
        return call(true, 1);
      case 'f':
        return call(false, 1);
      case 's':
        return call(true, 100 * kMs);
      case 'x':
        return call(false, 100 * kMs);
      case '(':
        kept_.push_back(breaker_.allow(now_));
        EXPECT_TRUE(kept_.back().allowed);
        return;
      case ')':
        return breaker_.ended(pop(), true, 1, now_);
      case '!':
        return breaker_.ended(pop(), false, 1, now_);
      case '~':
        return breaker_.abandoned(pop());
      case 'n':
        EXPECT_FALSE(breaker_.allow(now_).allowed);
        return;
      case 't':
        now_ += 50 * kMs;
        return;
      case 'w':
        now_ += 500 * kMs;
        return;
      case 'O':
        return breaker_.force(BreakerState::forced_open, now_);
      case 'C':
        return breaker_.force(BreakerState::forced_closed, now_);
      case 'R':
        return breaker_.force(BreakerState::closed, now_);
      default:
        ADD_FAILURE() << "no such letter: " << c;
    }
  }
  void call(bool ok, std::uint64_t duration_ns) {
    const auto permit = breaker_.allow(now_);
    EXPECT_TRUE(permit.allowed);
    breaker_.ended(permit, ok, duration_ns, now_);
  }
  CircuitBreaker::Permit pop() {
    const auto permit = kept_.front();
    kept_.erase(kept_.begin());
    return permit;
  }

  CircuitBreaker breaker_;
  std::uint64_t now_ = 10'000 * kMs;
  std::vector<CircuitBreaker::Permit> kept_;
};

TEST(CircuitBreaker, Transitions) {
  using enum BreakerState;
  struct Case {
    std::string program;
    BreakerState expected;
    const char* why;
  };
  const std::vector<Case> cases{
      {"", closed, "at first"},
      {"gggggggg", closed, "all is well"},
      {"fff", closed, "too few to say"},
      {"ffff", open, "enough, and all failed"},
      {"ggff", open, "half of them is the share"},
      {"gggff", closed, "less than the share"},
      {"gggfff", open, "the share again"},
      {"ffffn", open, "nothing passes"},
      {"ffffttttttttt", open, "450 ms"},
      {"ffffw", half_open, "500 ms: without anybody asking"},
      {"ffffwggg", closed, "all probes went well; the third is an ordinary call"},
      {"ffffwg", half_open, "one probe is not all"},
      {"ffffwf", open, "a probe failed"},
      {"ffffwgf", open, "the last probe failed"},
      {"ffffwfn", open, "and refuses again"},
      {"ffffwfw", half_open, "for another open time"},
      {"ffffw((n", half_open, "no more than two probes at a time"},
      {"ffffw((n))", closed, "both well"},
      {"ffffw((n)n", half_open, "ended probes are not made again"},
      {"ffffw((~(n))", closed, "an abandoned probe is made again"},
      {"ffffw((!)", open, "the second says nothing any more"},
      {"ffffw((!w(g))", closed, "nor later, in another half open state"},
      {"ffffw((!wgg~", closed, "nor does it abandon what it is no part of"},
      {"ffffwss", open, "well but all of them slow"},
      {"ffffwsg", closed, "some of them slow is not all"},
      {"ssss", open, "all slow"},
      {"sssg", closed, "not all slow"},
      {"xxxg", open, "slow and failed is failed too"},
      {"((((!!!", closed, "three ended"},
      {"((((!!!!", open, "four ended"},
      {"(ffff!w", half_open, "a late end after opening counts for nothing"},
      {"(ffffwgg!fff", closed, "nor after closing again"},
      {"fffwwg", closed, "old failures left the window"},
      {"fffwg", open, "these are still in it"},
      {"ftftftttttttttttttttttttf", closed, "a bucket at a time"},
      {"(ffff~", open, "nor does it abandon anything"},
      {"(~ggff", open, "abandoned ones do not count"},
      {"O", forced_open, "an operator says so"},
      {"Onwwwwn", forced_open, "and time changes nothing"},
      {"OR", closed, "back"},
      {"fffOR", closed, "nothing counted: before"},
      {"fffORfff", closed, "nothing counted: three again"},
      {"fffORffff", open, "the rules hold"},
      {"C", forced_closed, "the other way"},
      {"Cffffffffwf", forced_closed, "whatever happens"},
      {"CffffR", closed, "nothing of it is kept"},
      {"(OR!fff", closed, "a call from before says nothing"},
      {"ffffC", forced_closed, "from open"},
      {"ffffR", closed, "from open, back"},
      {"ffffwO", forced_open, "from half open"},
      {"ffffw(OR)", closed, "a probe ends after all"},
  };
  for (const Case& c : cases)
    EXPECT_EQ(Machine{}.run(c.program), c.expected) << c.program << ": " << c.why;
}

TEST(CircuitBreaker, CountsWhatIsInTheWindow) {
  Machine machine;
  machine.run("gfsx");
  auto figures = machine.figures();
  EXPECT_EQ(figures.calls, 4u);
  EXPECT_EQ(figures.failed, 2u);
  EXPECT_EQ(figures.slow, 2u);
  EXPECT_EQ(figures.opened, 1u);  // and what made it open is still to be seen
  EXPECT_EQ(figures.changed_ns, machine.now());
  EXPECT_EQ(figures.refused, 0u);
  machine.run("nnn");
  EXPECT_EQ(machine.figures().refused, 3u);
  machine.run("ww");
  figures = machine.figures();
  EXPECT_EQ(figures.calls + figures.failed + figures.slow, 0u);
  EXPECT_EQ(figures.opened, 1u);
  machine.run("gg");
  EXPECT_EQ(machine.figures().calls, 0u);  // a new beginning
  EXPECT_EQ(machine.figures().changed_ns, machine.now());
  EXPECT_EQ(machine.run("ffff"), BreakerState::open);
  EXPECT_EQ(machine.figures().opened, 2u);
  EXPECT_EQ(machine.run("OCR"), BreakerState::closed);
  EXPECT_EQ(machine.figures().opened, 2u);  // by the rules
}

TEST(CircuitBreaker, ForcedClosedCountsAllTheSame) {
  Machine machine;
  machine.run("Cfffgs");
  const auto figures = machine.figures();
  EXPECT_EQ(figures.calls, 5u);
  EXPECT_EQ(figures.failed, 3u);
  EXPECT_EQ(figures.slow, 1u);
}

TEST(CircuitBreaker, OthersCannotBeForced) {
  Machine machine;
  machine.run("fff");
  machine.breaker().force(BreakerState::open, machine.now());
  machine.breaker().force(BreakerState::half_open, machine.now());
  EXPECT_EQ(machine.run(""), BreakerState::closed);
  EXPECT_EQ(machine.figures().calls, 3u);
}

TEST(CircuitBreaker, APermitThatSaidNoIsWorthNothing) {
  Machine machine;
  machine.breaker().abandoned({});
  for (int i = 0; i < 10; ++i) machine.breaker().ended({}, false, 0, machine.now());
  machine.breaker().ended({false, 1}, false, 0, machine.now());
  machine.breaker().abandoned({false, 1});
  EXPECT_EQ(machine.figures().calls, 0u);
}

TEST(CircuitBreaker, TimeThatGoesBackIsTheSameMoment) {
  CircuitBreaker breaker{small()};
  const std::uint64_t now = 100'000 * kMs;
  for (const std::uint64_t at : {now, now - 5'000 * kMs, now - 90'000 * kMs}) {
    breaker.ended(breaker.allow(at), false, 0, at);
  }
  EXPECT_EQ(breaker.figures(0).calls, 3u);
  EXPECT_EQ(breaker.figures(now).calls, 3u);
  breaker.ended(breaker.allow(now), false, 0, now);
  EXPECT_EQ(breaker.state(now), BreakerState::open);
  EXPECT_EQ(breaker.state(now - 1'000 * kMs), BreakerState::open);
  EXPECT_FALSE(breaker.allow(0).allowed);
}

TEST(CircuitBreaker, StrangeOptionsAreMadeSane) {
  BreakerOptions options;
  options.window_ns = 0;
  options.minimum_calls = 0;
  options.probes = 0;
  options.open_ns = 0;
  CircuitBreaker breaker{options};
  breaker.ended(breaker.allow(0), false, 0, 0);
  EXPECT_EQ(breaker.state(0), BreakerState::half_open);
  breaker.ended(breaker.allow(0), true, 0, 0);
  EXPECT_EQ(breaker.state(0), BreakerState::closed);

  options = small();
  options.failure_rate = options.slow_rate = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(Machine{options}.run("xxxxxxxx"), BreakerState::closed);
  options.failure_rate = 0;
  EXPECT_EQ(Machine{options}.run("gggggggg"), BreakerState::closed);
  EXPECT_EQ(Machine{options}.run("gggf"), BreakerState::open);
}

TEST(CircuitBreaker, CanBeMoved) {
  Machine machine;
  machine.run("ffff");
  CircuitBreaker other{std::move(machine.breaker())};
  EXPECT_EQ(other.state(machine.now()), BreakerState::open);
  machine.breaker() = std::move(other);
  EXPECT_EQ(machine.run("w"), BreakerState::half_open);
}

TEST(CircuitBreaker, StatesHaveNames) {
  EXPECT_STREQ(to_string(BreakerState::closed), "closed");
  EXPECT_STREQ(to_string(BreakerState::open), "open");
  EXPECT_STREQ(to_string(BreakerState::half_open), "half_open");
  EXPECT_STREQ(to_string(BreakerState::forced_open), "forced_open");
  EXPECT_STREQ(to_string(BreakerState::forced_closed), "forced_closed");
  EXPECT_STREQ(to_string(static_cast<BreakerState>(77)), "unknown");
}

}  // namespace
}  // namespace sluice
