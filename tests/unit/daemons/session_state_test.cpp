// Programs of single letters, so that every transition can be read as one line.
#include "daemons/sluiced/session_state.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice::broker {
namespace {

using Stage = SessionState::Stage;
using Then = SessionState::Then;

constexpr std::uint64_t kMs = 1'000'000;

/// Does one thing for each letter, and tells what followed from each.
///   m n     a message in pace, that wants an answer, that wants none
///   M N     the same, too fast
///   W H E   welcomed, hung up, ended
///   t h s   25 ms, 1 s, 2 s pass, less a moment; the clock is looked at then
///   .       the moment passes
/// What follows: g greet, s serve, r refuse, x close because nothing was heard, o read on, -
/// nothing; a capital stands as it is.
class Machine {
 public:
  std::string run(const std::string& program) {
    std::string then;
    for (const char c : program) then += step(c);
    return then;
  }
  [[nodiscard]] const SessionState& state() const { return state_; }
  [[nodiscard]] std::uint64_t now() const { return now_; }

 private:
  static char letter(Then then) {
    switch (then) {
      case Then::nothing:
        return '-';
      case Then::greet:
        return 'g';
      case Then::serve:
        return 's';
      case Then::refuse:
        return 'r';
      case Then::close_silent:
        return 'x';
      case Then::read_on:
        return 'o';
    }
    return '?';
  }
  char pass(std::uint64_t ns) {
    now_ += ns;
    return letter(state_.time_passed(now_));
  }
  char step(char c) {
    switch (c) {
      case 'm':
      case 'n':
        return letter(state_.received(true, c == 'm', now_));
      case 'M':
      case 'N':
        return letter(state_.received(false, c == 'M', now_));
      case 'W':
        state_.welcomed();
        return c;
      case 'H':
        state_.hung_up();
        return c;
      case 'E':
        EXPECT_EQ(state_.ended(), !over_);
        over_ = true;
        return c;
      case 't':
        return pass(25 * kMs);
      case 'h':
        return pass(1'000 * kMs);
      case 's':
        return pass(2'000 * kMs - 1);
      case '.':
        return pass(1);
      default:
        ADD_FAILURE() << "no such letter: " << c;
        return '?';
    }
  }

  static SessionState at(std::uint64_t now_ns) {
    SessionState state;
    state.started(now_ns);
    return state;
  }
  std::uint64_t now_ = 7'000 * kMs;
  SessionState state_ = at(now_);
  bool over_ = false;
};

TEST(SessionState, Transitions) {
  using enum SessionState::Stage;
  struct Case {
    std::string program;
    std::string expected;
    Stage stage;
    bool reads;
    const char* why;
  };
  const std::vector<Case> cases{
      {"", "", hello, true, "at first"},
      {"m", "g", hello, true, "the first message is looked at, whatever it is"},
      {"n", "g", hello, true, "also when it wants no answer"},
      {"mW", "gW", open, true, "and was Hello"},
      {"mWmn", "gWss", open, true, "from then on all is served"},
      {"WW", "WW", open, true, "once is enough"},
      {"s", "-", hello, true, "two seconds, less a moment"},
      {"s.", "-x", hello, true, "two seconds"},
      {"hm.h", "-g-x", hello, true, "a message that was not welcomed changes nothing"},
      {"mWs.s", "gW---", open, true, "who came in may be silent: heartbeats are another matter"},
      {"mE", "gE", over, false, "it was not Hello"},
      {"s.E", "-xE", over, false, "the broker closes"},
      {"s.Eh", "-xE-", over, false, "and time has no say any more"},
      {"mWE", "gWE", over, false, "the ordinary end"},
      {"mWEmM", "gWE--", over, false, "nothing of it is done afterwards"},
      {"EWm", "EW-", over, false, "nobody is welcomed who is over"},
      {"EE", "EE", over, false, "and ends once"},
      {"mWM", "gWr", open, false, "too fast: refused, and not read"},
      {"mWN", "gWs", open, false, "what cannot be refused is done"},
      {"mWMt", "gWr-", open, false, "25 ms"},
      {"mWMtt", "gWr-o", open, true, "50 ms"},
      {"mWMttm", "gWr-os", open, true, "then it goes on"},
      {"mWMtMt", "gWr-ro", open, true, "what was read already does not prolong it"},
      {"mWMttMt", "gWr-or-", open, false, "but it may happen again"},
      {"mWMttMtt", "gWr-or-o", open, true, "for as long"},
      {"mWMH", "gWrH", open, true, "who has closed is read to the end"},
      {"mWMHtt", "gWrH--", open, true, "and then time has nothing to say"},
      {"mWMEtt", "gWrE--", over, false, "nor when it is over"},
      {"M", "r", hello, false, "Hello itself may be too fast"},
      {"Mttm", "r-og", hello, true, "and come later"},
      {"N", "g", hello, false, "without an answer it is looked at"},
      {"Ms.", "rox", hello, true, "but Hello must have come all the same"},
      {"HE", "HE", over, false, "gone before it said anything"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.program + ": " + c.why);
    Machine machine;
    EXPECT_EQ(machine.run(c.program), c.expected);
    EXPECT_EQ(machine.state().stage(), c.stage);
    EXPECT_EQ(machine.state().reads(), c.reads);
  }
}

TEST(SessionState, SaysWhenItWantsToBeAsked) {
  Machine machine;
  const std::uint64_t start = machine.now();
  EXPECT_EQ(machine.state().due_ns(), start + 2'000 * kMs);
  machine.run("M");
  EXPECT_EQ(machine.state().due_ns(), start + 50 * kMs);
  machine.run("tt");
  EXPECT_EQ(machine.state().due_ns(), start + 2'000 * kMs);
  machine.run("mW");
  EXPECT_EQ(machine.state().due_ns(), shm::kNever);
  machine.run("M");
  EXPECT_EQ(machine.state().due_ns(), machine.now() + 50 * kMs);
  machine.run("E");
  EXPECT_EQ(machine.state().due_ns(), shm::kNever);
}

TEST(SessionState, ThatWasNeverStartedWaitsForNothing) {
  SessionState state;
  EXPECT_EQ(state.due_ns(), shm::kNever);
  EXPECT_EQ(state.time_passed(shm::kNever - 1), Then::nothing);
}

}  // namespace
}  // namespace sluice::broker
