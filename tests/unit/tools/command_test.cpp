// Commands as handlers: what they get, what they say, and how they are ended.
#include "tools/sluice/command.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

namespace sluice::tools {
namespace {

using namespace std::chrono_literals;
using How = CommandEnd::How;
using std::chrono::steady_clock;

class Command : public testing::Test {
 protected:
  Command() { ::signal(SIGPIPE, SIG_IGN); }
  static CommandEnd run(const std::string& command, const std::string& input = {}) {
    CommandCall call;
    call.command = command;
    call.input = std::as_bytes(std::span{input.data(), input.size()});
    return run_command(call);
  }
  static bool alive(pid_t pid) {
    if (::kill(pid, 0) != 0) return false;
    // What was left behind is a zombie until init reaps it, where there is one.
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string text((std::istreambuf_iterator<char>(stat)), {});
    return text.find(") Z ") == std::string::npos;
  }
  static bool dies(pid_t pid) {
    for (int i = 0; i < 1'000; ++i) {
      if (!alive(pid)) return true;
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }
};

TEST_F(Command, AnswersWithItsOutput) {
  const CommandEnd end = run("tr a-z A-Z", "hello");
  EXPECT_EQ(end.how, How::exited);
  EXPECT_EQ(end.code, 0);
  EXPECT_EQ(end.output, "HELLO");
}

TEST_F(Command, TakesAndGivesMoreThanAPipeHolds) {
  std::string input(kMaxCommandOutput, '\0');
  for (std::size_t i = 0; i < input.size(); ++i) input[i] = static_cast<char>(i * 7);
  const CommandEnd end = run("cat", input);
  EXPECT_EQ(end.how, How::exited);
  EXPECT_EQ(end.output, input);
}

TEST_F(Command, NeedNotReadItsInput) {
  const CommandEnd end = run("exec <&-; echo done", std::string(1 << 20, 'x'));
  EXPECT_EQ(end.code, 0);
  EXPECT_EQ(end.output, "done\n");
}

TEST_F(Command, ThatFailsSaysWhy) {
  const CommandEnd end = run("echo first >&2; echo 'the last one' >&2; echo >&2; echo out; exit 3");
  EXPECT_EQ(end.how, How::exited);
  EXPECT_EQ(end.code, 3);
  EXPECT_EQ(end.last_line, "the last one");
  EXPECT_EQ(end.output, "out\n");
  EXPECT_EQ(run("printf 'no line feed' >&2; exit 1").last_line, "no line feed");
  EXPECT_EQ(run("kill -9 $$").code, 128 + 9);
  EXPECT_EQ(run("/nonexistent/program").code, 127);
}

TEST_F(Command, ThatSaysTooMuchOnStandardErrorStillEnds) {
  const CommandEnd end = run("head -c 1000000 /dev/zero >&2; echo >&2; echo end >&2; exit 1");
  EXPECT_EQ(end.code, 1);
  EXPECT_EQ(end.last_line, "end");
}

TEST_F(Command, ThatSaysTooMuchIsEnded) {
  const CommandEnd end = run("cat /dev/zero");
  EXPECT_EQ(end.how, How::too_much);
  EXPECT_EQ(end.output.size(), kMaxCommandOutput);
}

TEST_F(Command, GetsItsEnvironment) {
  CommandCall call;
  call.command = "echo \"$SLUICE_SERVICE $HOME_OF_TEST\"";
  call.environment = {{"SLUICE_SERVICE", "a/b c"}, {"HOME_OF_TEST", "x=y"}};
  ::setenv("HOME_OF_TEST", "other", 1);
  EXPECT_EQ(run_command(call).output, "a/b c x=y\n");
}

TEST_F(Command, ThatIsLateIsEndedWithAllItStarted) {
  CommandCall call;
  call.command = "sleep 1000 & echo $!; wait";
  call.deadline = steady_clock::now() + 300ms;
  const CommandEnd end = run_command(call);
  EXPECT_EQ(end.how, How::too_late);
  const int child = std::atoi(end.output.c_str());
  ASSERT_GT(child, 0);
  EXPECT_TRUE(dies(child));
}

TEST_F(Command, ThatDoesNotListenIsKilled) {
  CommandCall call;
  call.command = "trap '' TERM; echo $$; while :; do sleep 0.05; done";
  call.deadline = steady_clock::now() + 200ms;
  const CommandEnd end = run_command(call);
  EXPECT_EQ(end.how, How::too_late);
  EXPECT_EQ(end.code, 128 + SIGKILL);
}

TEST_F(Command, IsCancelled) {
  std::atomic<bool> unwanted{false};
  CommandCall call;
  call.command = "sleep 1000";
  call.cancelled = [&] { return unwanted.load(); };
  std::thread caller([&] {
    std::this_thread::sleep_for(100ms);
    unwanted = true;
  });
  EXPECT_EQ(run_command(call).how, How::cancelled);
  caller.join();
}

TEST_F(Command, LeavesNothingBehind) {
  // The pipes stay open in what it leaves: its end is what counts.
  const CommandEnd end = run("sleep 1000 & echo $!");
  EXPECT_EQ(end.how, How::exited);
  const int child = std::atoi(end.output.c_str());
  ASSERT_GT(child, 0);
  EXPECT_TRUE(dies(child));
}

TEST_F(Command, LeavesNoDescriptorsOpen) {
  const auto open_files = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  (void)run("true");
  const auto before = open_files();
  for (int i = 0; i < 20; ++i) (void)run("echo x; echo y >&2", "z");
  EXPECT_EQ(open_files(), before);
}

}  // namespace
}  // namespace sluice::tools
