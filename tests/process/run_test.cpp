// `sluice run` with small processes: shell scripts that say what happens to them, and, for the
// summary, a camera, detectors and a recognizer that are this program again.
#include "daemons/run/supervisor.hpp"
#include "sluice/correlation.hpp"
#include "sluice/frame.hpp"
#include "sluice/results.hpp"
#include "sluice/stage.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/emulated.hpp"
#include "tests/support/must.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::size_t count_of(const std::string& part, const std::string& text) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

// Gone, or dead and not yet collected by whoever inherited it.
bool is_gone(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(stat, text)) return true;
  const std::size_t name = text.rfind(") ");
  return name != std::string::npos && text[name + 2] == 'Z';
}

class RunTest : public testing::Test {
 protected:
  RunTest() {
    char name[] = "/tmp/sluice-run-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~RunTest() override {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    fs::remove_all(folder_);
  }

  // A script as a process: `body` may use $D, this test's folder.
  [[nodiscard]] std::string script(const std::string& name, const std::string& body,
                                   const std::string& keys = "") const {
    return "[process." + name + "]\ncommand = [\"sh\", \"-c\", '''D=" + folder_ + "\n" + body +
           "''']\n" + keys;
  }
  // One that says that it is up, and runs until it is told to end, which it says too.
  [[nodiscard]] std::string servant(const std::string& name) const {
    return script(name, "trap 'echo " + name + " >> $D/order; exit 0' TERM\necho $$ >> $D/" + name +
                            "\nwhile :; do sleep 0.02; done\n");
  }
  [[nodiscard]] std::string broker_table() const {
    return "[broker]\nsocket = \"" + socket() + "\"\n";
  }
  [[nodiscard]] std::string socket() const { return folder_ + "/broker.sock"; }
  [[nodiscard]] std::string file(const std::string& name) const {
    return contents(folder_ + "/" + name);
  }
  [[nodiscard]] std::string out() const { return file("stdout"); }
  [[nodiscard]] std::string err() const { return file("stderr"); }

  void start(const std::string& pipeline, std::vector<std::string> arguments = {},
             std::string program = SLUICE_TOOL) {
    const std::string path = folder_ + "/pipeline.toml";
    std::ofstream{path} << pipeline;
    std::vector<std::string> all{std::move(program), "run", path};
    all.insert(all.end(), arguments.begin(), arguments.end());
    pid_ = ::fork();
    ASSERT_GE(pid_, 0);
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (const auto& [fd, name] : {std::pair{1, "/stdout"}, std::pair{2, "/stderr"}}) {
      const int to = ::open((folder_ + name).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      ::dup2(to, fd);
      ::close(to);
    }
    std::vector<char*> argv;
    for (std::string& argument : all) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  void signal(int number) const { ::kill(pid_, number); }
  // The exit code; minus the signal that ended it.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  int run(const std::string& pipeline, std::vector<std::string> arguments = {}) {
    start(pipeline, std::move(arguments));
    return wait();
  }
  [[nodiscard]] bool is_up(const std::string& name) const {
    return eventually([&] { return !file(name).empty(); });
  }

  std::string folder_;
  pid_t pid_ = 0;
};

TEST_F(RunTest, StartsABrokerWhereThereIsNoneAndStopsAllInReverseOrder) {
  start(
      broker_table() + servant("one") + servant("two") + servant("three") +
      script("four", "echo \"socket $SLUICE_SOCKET\"\nprintf '\\033[31mred\\n' >&2\nsleep 1000\n"));
  for (const char* name : {"one", "two", "three"}) ASSERT_TRUE(is_up(name)) << name;
  ASSERT_TRUE(eventually([&] { return err().find("red") != std::string::npos; }));
  {
    NodeOptions options;
    options.name = "tester";
    options.socket = socket();
    EXPECT_TRUE(Node::create(std::move(options)));
  }
  signal(SIGHUP);  // is nothing to us
  signal(SIGINT);
  EXPECT_EQ(wait(), 0);
  EXPECT_EQ(file("order"), "three\ntwo\none\n");
  EXPECT_NE(err().find("four | socket " + socket() + "\n"), std::string::npos) << err();
  EXPECT_NE(err().find("four | \\x1b[31mred\n"), std::string::npos) << "nothing for a terminal";
  EXPECT_FALSE(fs::exists(socket())) << "the broker has ended, too, and cleared up";
  EXPECT_EQ(out(), "");
}

TEST_F(RunTest, UsesABrokerThatIsThereAndLeavesItAlone) {
  BrokerProcess broker{SLUICE_SLUICED};
  {
    NodeOptions options;
    options.socket = broker.socket();
    ASSERT_TRUE(Node::create(std::move(options))) << "it has started";
  }
  const std::string table = "[broker]\nsocket = \"" + broker.socket() + "\"\n";
  start(table + servant("one"));
  ASSERT_TRUE(is_up("one"));
  signal(SIGTERM);
  EXPECT_EQ(wait(), 0);
  EXPECT_EQ(err().find("sluiced |"), std::string::npos) << err();
  NodeOptions options;
  options.socket = broker.socket();
  EXPECT_TRUE(Node::create(std::move(options)));

  EXPECT_EQ(run(table + "start = \"always\"\n" + servant("two")), 1);
  EXPECT_NE(err().find("a broker answers at " + broker.socket()), std::string::npos) << err();
}

TEST_F(RunTest, StartsNoBrokerWhereTheFileSaysSo) {
  start(broker_table() + "start = \"never\"\n" + servant("one"));
  ASSERT_TRUE(is_up("one"));
  EXPECT_FALSE(fs::exists(socket()));
  signal(SIGTERM);
  EXPECT_EQ(wait(), 0);
}

TEST_F(RunTest, ABrokerThatCannotStartIsToldOf) {
  const std::string config = folder_ + "/wrong.toml";
  std::ofstream{config} << "nonsense = 1\n";
  // Only what is tried: the ten seconds that are waited for it are the supervisor's own test.
  start(broker_table() + "config = \"wrong.toml\"\n" + servant("one"));
  ASSERT_TRUE(
      eventually([&] { return err().find("sluiced: failed; exit code 1") != std::string::npos; }));
  EXPECT_NE(err().find("there is no key 'nonsense'"), std::string::npos) << err();
  EXPECT_EQ(file("one"), "") << "waits for the broker";
  signal(SIGTERM);
  EXPECT_EQ(wait(), 0);
}

TEST_F(RunTest, WhatFailsComesBackEverLaterAndIsShown) {
  start(broker_table() + "start = \"never\"\n" +
        script("weak", "echo x >> $D/lives\necho all well\necho 'no camera here' >&2\nexit 3\n"));
  ASSERT_TRUE(eventually([&] { return count_of("x", file("lives")) >= 4; }, 30s));
  signal(SIGTERM);
  EXPECT_EQ(wait(), 0);
  const std::string text = err();
  EXPECT_GE(count_of("weak: failed; exit code 3 after ", text), 3u) << text;
  EXPECT_GE(count_of(": no camera here\n", text), 3u) << "its last words";
  // What it says it waits: 0.25 s, doubled, with a jitter of a fifth.
  std::vector<double> delays;
  const std::string before = "is started again in ";
  for (std::size_t at = text.find(before); at != std::string::npos;
       at = text.find(before, at + 1)) {
    delays.push_back(std::stod(text.substr(at + before.size())));
  }
  ASSERT_GE(delays.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    const double planned = 0.25 * static_cast<double>(1 << i);
    EXPECT_GE(delays[i], planned * 0.8 - 0.01) << i;
    EXPECT_LE(delays[i], planned * 1.2 + 0.01) << i;
  }
}

TEST_F(RunTest, EndsWhenAllHaveEndedThatAreNotStartedAgain) {
  const std::string none = broker_table() + "start = \"never\"\n";
  EXPECT_EQ(run(none + script("a", "echo a >> $D/a\n", "restart = \"on-failure\"\n") +
                script("b", "echo b >> $D/b\n", "restart = \"never\"\n")),
            0)
      << err();
  EXPECT_EQ(file("a"), "a\n");
  EXPECT_EQ(file("b"), "b\n");
  EXPECT_EQ(run(none + script("c", "kill -9 $$\n", "restart = \"never\"\n")), 1);
  EXPECT_NE(err().find("c with a failure: signal 9"), std::string::npos) << err();
  // Fails twice, then is content.
  EXPECT_EQ(run(none + script("d", "echo d >> $D/d\n[ $(wc -l < $D/d) -ge 3 ]\n",
                              "restart = \"on-failure\"\n")),
            0)
      << err();
  EXPECT_EQ(file("d"), "d\nd\nd\n");
}

TEST_F(RunTest, KillingTheSupervisorLeavesNothing) {
  start(broker_table() + servant("one") +
        script("deaf", "trap '' TERM INT HUP\necho $$ >> $D/deaf\nwhile :; do sleep 0.02; done\n"));
  ASSERT_TRUE(is_up("one"));
  ASSERT_TRUE(is_up("deaf"));
  signal(SIGKILL);
  EXPECT_EQ(wait(), -SIGKILL);
  for (const char* name : {"one", "deaf"}) {
    const pid_t pid = std::stoi(file(name));
    EXPECT_TRUE(eventually([&] { return is_gone(pid); })) << name;
  }
  NodeOptions options;
  options.socket = socket();
  options.connect_timeout = 0ms;
  EXPECT_TRUE(eventually([&] { return !Node::create(options); })) << "the broker is gone";
}

TEST_F(RunTest, ASecondCtrlCKillsAtOnce) {
  start(broker_table() + "start = \"never\"\n" + servant("one") +
        script("deaf",
               "trap 'echo x >> $D/asked' TERM\necho $$ >> $D/deaf\n"
               "while :; do sleep 0.02; done\n"));
  ASSERT_TRUE(is_up("deaf"));
  signal(SIGINT);
  ASSERT_TRUE(is_up("asked"));
  signal(SIGINT);
  EXPECT_EQ(wait(), 1);
  EXPECT_NE(err().find("as was asked for twice"), std::string::npos) << err();
  EXPECT_TRUE(is_gone(std::stoi(file("deaf"))));
}

TEST_F(RunTest, WhoEndsByItselfBeforeItsTurnIsNotWaitedFor) {
  start(broker_table() + "start = \"never\"\n" + servant("one") +
        script("two",
               "trap 'kill $(cat $D/one); sleep 0.2; exit 0' TERM\necho $$ >> $D/two\n"
               "while :; do sleep 0.02; done\n"));
  ASSERT_TRUE(is_up("one"));
  ASSERT_TRUE(is_up("two"));
  signal(SIGTERM);
  EXPECT_EQ(wait(), 0);
  EXPECT_EQ(file("order"), "one\n");
}

TEST_F(RunTest, WhatAProcessHasLeftBehindEndsWithIt) {
  start(broker_table() + "start = \"never\"\n" +
        script("parent", "sleep 1000 &\necho $! >> $D/orphan\nexit 0\n", "restart = \"never\"\n") +
        servant("one"));
  ASSERT_TRUE(is_up("orphan"));
  const pid_t orphan = std::stoi(file("orphan"));
  EXPECT_TRUE(eventually([&] { return is_gone(orphan); }));
  signal(SIGTERM);
  EXPECT_EQ(wait(), 0);
}

TEST_F(RunTest, ProcessesGetTheirFolderEnvironmentPriorityAndProcessors) {
  fs::create_directory(folder_ + "/sub");
  start(broker_table() + "start = \"never\"\n" +
        script("one",
               "pwd > $D/pwd\necho \"$COLOUR $HOME\" > $D/colour\nnice > $D/nice\n"
               "grep Cpus_allowed_list /proc/self/status > $D/cpus\necho x > $D/one\nsleep 1000\n",
               "working_directory = \"sub\"\nenvironment = { COLOUR = \"blue and red\", HOME = "
               "\"/nobodys\" }\n"
               "nice = 3\ncpus = [0]\n"));
  ASSERT_TRUE(is_up("one"));
  signal(SIGTERM);
  EXPECT_EQ(wait(), 0);
  EXPECT_EQ(file("pwd"), fs::canonical(folder_ + "/sub").string() + "\n");
  EXPECT_EQ(file("colour"), "blue and red /nobodys\n");
  const int ours = std::stoi(file("nice"));
  EXPECT_GE(ours, 3);
  EXPECT_EQ(file("cpus"), "Cpus_allowed_list:\t0\n");
}

TEST_F(RunTest, WhatCannotBeStartedSaysWhy) {
  const std::string none = broker_table() + "start = \"never\"\n";
  EXPECT_EQ(run(none + "[process.a]\ncommand = [\"no-such-program\"]\n"), 1);
  EXPECT_NE(err().find("a: there is no program 'no-such-program' in "), std::string::npos) << err();
  EXPECT_EQ(
      run(none + script("a", "true\n", "working_directory = \"/nowhere\"\nrestart = \"never\"\n")),
      1);
  EXPECT_NE(err().find("cannot work in /nowhere"), std::string::npos) << err();
  std::ofstream{folder_ + "/text"} << "no program\n";
  fs::permissions(folder_ + "/text", fs::perms::owner_all);
  EXPECT_EQ(run(none + "[process.a]\ncommand = [\"./text\"]\nrestart = \"never\"\n"), 1);
  EXPECT_NE(err().find("cannot run " + folder_ + "/text: Exec format error"), std::string::npos)
      << err();
}

TEST_F(RunTest, ChecksAndPrintsWithoutStartingAnything) {
  EXPECT_EQ(run(broker_table() + servant("one"), {"--check"}), 0);
  EXPECT_NE(out().find("no mistakes found"), std::string::npos);
  EXPECT_EQ(run(broker_table() + "[camera.a]\nsource = \"x\"\n", {"--check"}), 1);
  EXPECT_NE(err().find("pipeline.toml:4:10: source of [camera.a]"), std::string::npos) << err();
  EXPECT_EQ(
      run(broker_table() + "[process.a]\ncommand = [\"sh\", \"-c\", \"exit 1\"]\n", {"--print"}),
      0);
  EXPECT_NE(out().find("/sluiced --socket " + socket()), std::string::npos) << out();
  EXPECT_NE(out().find("/sh -c 'exit 1'\n"), std::string::npos) << out();
  EXPECT_EQ(run("", {}), 1);
  EXPECT_NE(err().find("names nothing to run"), std::string::npos) << err();
  EXPECT_EQ(run("", {"--no-such-option"}), 2);
  EXPECT_EQ(file("one"), "");
}

// With times of its own.
TEST_F(RunTest, WhoDoesNotStopIsKilledAndHoldsUpNobody) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    run::Supervisor::block_signals();
    const auto process = [&](const char* name, const std::string& text) {
      run::Process made;
      made.name = name;
      made.command = {"/bin/sh", "-c", "D=" + folder_ + "\n" + text};
      return made;
    };
    run::SupervisorOptions options;
    options.patience = 300ms;
    options.turn = 50ms;
    options.stop_after = 500ms;
    options.environment = {"PATH=/usr/bin:/bin"};
    options.log = [&](LogLevel, std::string_view text) {
      std::ofstream{folder_ + "/log", std::ios::app} << text << '\n';
    };
    auto supervisor = run::Supervisor::create(
        {process("first",
                 "trap 'echo first >> $D/order; exit 0' TERM\nwhile :; do sleep 0.01; done\n"),
         process("deaf", "trap '' TERM\nwhile :; do sleep 0.01; done\n")},
        std::move(options));
    ::_exit(supervisor && supervisor->run() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(file("order"), "first\n");
  EXPECT_NE(file("log").find("deaf: did not stop, and was killed"), std::string::npos)
      << file("log");
}

TEST_F(RunTest, ABrokerThatDoesNotAnswerEndsIt) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    run::Supervisor::block_signals();
    run::Process broker;
    broker.kind = run::Kind::broker;
    broker.name = "sluiced";
    broker.command = {"/bin/sh", "-c", "echo broken >&2; exit 7"};
    run::Process other;
    other.name = "other";
    other.command = {"/bin/sh", "-c", "echo x > " + folder_ + "/other"};
    run::SupervisorOptions options;
    options.ready = [] { return false; };
    options.ready_patience = patient(1000ms);  // long enough for the shell to fail
    auto supervisor = run::Supervisor::create({broker, other}, std::move(options));
    auto ended = supervisor->run();
    std::ofstream{folder_ + "/error"} << (ended ? "" : ended.error().message);
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_NE(file("error").find("the broker does not answer"), std::string::npos) << file("error");
  EXPECT_NE(file("error").find("exit code 7"), std::string::npos) << file("error");
  EXPECT_EQ(file("other"), "");
}

TEST_F(RunTest, ABrokerThatFailsBecauseAnotherAnswersIsNotTriedAgain) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    run::Supervisor::block_signals();
    run::Process broker;
    broker.kind = run::Kind::broker;
    broker.name = "sluiced";
    broker.command = {"/bin/sh", "-c", "echo x >> " + folder_ + "/tries; exit 1"};
    run::Process other;
    other.name = "other";
    other.command = {"/bin/sh", "-c", "echo x > " + folder_ + "/other; sleep 1000"};
    run::SupervisorOptions options;
    options.environment = {"PATH=/usr/bin:/bin"};
    options.ready = [] { return true; };
    options.first_delay = 1ms;
    options.stop_after = 300ms;
    auto supervisor = run::Supervisor::create({broker, other}, std::move(options));
    ::_exit(supervisor->run() && supervisor->lives()[0].starts == 1 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(file("tries"), "x\n");
  EXPECT_EQ(file("other"), "x\n");
}

TEST_F(RunTest, TheSummaryAddsUp) {
  // The tool looks for the programs beside itself first.
  const std::string tool = folder_ + "/sluice";
  fs::copy_file(SLUICE_TOOL, tool);
  for (const char* name : {"capture", "detect", "recognize"}) {
    const std::string path = folder_ + "/sluice-" + name;
    std::ofstream{path} << "#!/bin/sh\nexec " << emulator() << " "
                        << fs::read_symlink("/proc/self/exe").string() << " --be " << name
                        << " \"$@\"\n";
    fs::permissions(path, fs::perms::owner_all);
  }
  fs::create_symlink(SLUICE_SLUICED, folder_ + "/sluiced");
  const int seconds = patient(4);
  start(broker_table() +
            "[camera.hall]\nsource = \"test://\"\n[detector.hall]\nworkers = 2\n"
            "[detector.quick]\ncamera = \"hall\"\n"
            "[recognizer.people]\ndetectors = \"hall\"\npeople = \"x\"\n",
        {"--seconds", std::to_string(seconds), "--json", "--log-level", "warning"}, tool);
  ASSERT_EQ(wait(), 0) << err();
  const std::string text = out();
  ASSERT_EQ(count_of("\n", text), 1u) << text;
  const auto json = nlohmann::json::parse(text);
  EXPECT_GE(json["seconds"].get<double>(), seconds);

  const auto& camera = json["cameras"].at(0);
  EXPECT_EQ(camera["name"], "hall");
  EXPECT_GT(camera["published"].get<std::uint64_t>(), 20u);
  EXPECT_EQ(camera["gaps"], 2);
  EXPECT_EQ(camera["copies"], 5);
  EXPECT_EQ(camera["dropped"], 3);
  EXPECT_EQ(camera["captured"].get<std::uint64_t>(), camera["published"].get<std::uint64_t>() + 3);
  EXPECT_NEAR(camera["expected"].get<double>(), json["seconds"].get<double>() * 50, 1);
  EXPECT_EQ(camera["width"], 64);
  std::size_t members = 0;
  std::size_t looked_up = 0;
  for (const auto& subscription : camera["subscriptions"]) {
    if (subscription["mode"] == "references") {
      EXPECT_EQ(subscription["node"], "recognize-people");
      EXPECT_GT(subscription["resolved"].get<std::uint64_t>(), 0u);
      EXPECT_FALSE(subscription.contains("waiting")) << "there is no queue";
      ++looked_up;
      continue;
    }
    std::uint64_t sum =
        subscription["taken"].get<std::uint64_t>() + subscription["waiting"].get<std::uint64_t>();
    for (const auto& [cause, count] : subscription["lost"].items())
      sum += count.get<std::uint64_t>();
    EXPECT_EQ(subscription["published"], sum);
    members += subscription["mode"] == "group";
  }
  EXPECT_EQ(members, 2u);
  EXPECT_EQ(looked_up, 1u) << camera["subscriptions"];

  ASSERT_EQ(json["detectors"].size(), 2u);
  std::uint64_t taken_in_all = 0;
  for (const auto& detector : json["detectors"]) {
    const auto taken = detector["taken"].get<std::uint64_t>();
    EXPECT_GT(taken, 0u) << detector;
    EXPECT_GT(detector["results"].get<std::uint64_t>(), 0u);
    EXPECT_GT(detector["detections"].get<std::uint64_t>(), 0u);
    if (detector["name"] == "hall") taken_in_all = taken;
  }
  EXPECT_EQ(json["detectors"][0]["nodes"].size(), 2u);
  EXPECT_LE(taken_in_all + camera["not_given"].get<std::uint64_t>(),
            camera["published"].get<std::uint64_t>());

  const auto& people = json["recognizers"].at(0);
  ASSERT_EQ(people["identities"].size(), 1u) << people;
  EXPECT_EQ(people["identities"][0]["name"], "Grace");
  EXPECT_EQ(people["identities"][0]["best_confidence"], 0.75);
  EXPECT_GT(people["unknown"].get<std::uint64_t>(), 0u);
  EXPECT_GT(people["end_to_end_ms"]["measured"].get<std::uint64_t>(), 0u);
  EXPECT_EQ(people["failed"], 0);
  EXPECT_GT(people["handling_ms"]["measured"].get<std::uint64_t>(), 0u);
  EXPECT_EQ(json["processes"].size(), 6u) << "with the broker";
  double processor = 0;
  double pss = 0;
  for (const auto& process : json["processes"]) {
    EXPECT_EQ(process["restarts"], 0) << process;
    EXPECT_GT(process["memory_private_mb"].get<double>(), 0) << process;
    EXPECT_GE(process["memory_pss_mb"].get<double>() + 0.002,
              process["memory_private_mb"].get<double>())
        << "kibibytes, rounded";
    processor += process["processor_seconds"].get<double>();
    pss += process["memory_pss_mb"].get<double>();
  }
  // It may be nothing: who is idle stays below a tick of the kernel's clock.
  EXPECT_GE(processor, 0);
  EXPECT_NEAR(json["total"]["processor_seconds"].get<double>(), processor, 0.01);
  EXPECT_NEAR(json["total"]["memory_pss_mb"].get<double>(), pss, 0.01);
  EXPECT_NEAR(json["total"]["processor_percent"].get<double>(),
              processor / json["seconds"].get<double>() * 100, 0.5);
}

TEST_F(RunTest, TheSummaryKnowsWhatEachProcessUsedInAllItsLives) {
  // Two lives that use a fifth of a second of a processor each; the third one rests.
  start(broker_table() +
            script("weak",
                   "echo x >> $D/lives\n"
                   "if [ $(wc -l < $D/lives) -ge 3 ]; then echo x > $D/third; sleep 1000; fi\n"
                   "until [ $(cut -d ' ' -f 14 /proc/$$/stat) -ge $(($(getconf CLK_TCK) / 5)) ]\n"
                   "do i=0; while [ $i -lt 10000 ]; do i=$((i + 1)); done; done\n"
                   "exit 1\n") +
            script("short", "exit 0\n", "restart = \"never\"\n"),
        {"--json"});
  ASSERT_TRUE(eventually([&] { return !file("third").empty(); }, 60s)) << err();
  signal(SIGTERM);
  ASSERT_EQ(wait(), 0) << err();
  const auto json = nlohmann::json::parse(out());
  const auto& processes = json["processes"];
  ASSERT_EQ(processes.size(), 3u);
  const auto& weak = processes[1];
  EXPECT_EQ(weak["starts"], 3);
  EXPECT_GE(weak["processor_seconds"].get<double>(), 0.38) << "ticks of 10 ms";
  EXPECT_GT(weak["memory_pss_mb"].get<double>(), 0);
  double sum = 0;
  for (const auto& process : processes) sum += process["processor_seconds"].get<double>();
  EXPECT_NEAR(json["total"]["processor_seconds"].get<double>(), sum, 0.01);

  start(broker_table() + servant("one"), {"--summary"});
  ASSERT_TRUE(is_up("one"));
  signal(SIGTERM);
  ASSERT_EQ(wait(), 0) << err();
  EXPECT_NE(out().find("processor s"), std::string::npos) << out();
  EXPECT_NE(out().find("\n  total "), std::string::npos) << out();
}

TEST_F(RunTest, WhatIsWrittenGoesToTheFolderThatWasNamed) {
  const std::string tool = folder_ + "/sluice";
  fs::copy_file(SLUICE_TOOL, tool);
  // Writes to what --save and --picture name.
  for (const char* name : {"capture", "detect", "recognize", "annotate"}) {
    const std::string path = folder_ + "/sluice-" + name;
    std::ofstream{path} << "#!/bin/sh\nwhile [ $# -gt 0 ]; do\n  case $1 in --save | --picture)"
                           " echo x > \"$2\" ;; esac\n  shift\ndone\nexec sleep 1000\n";
    fs::permissions(path, fs::perms::owner_all);
  }
  const std::string pipeline = broker_table() +
                               "start = \"never\"\n[camera.a]\nsource = \"test://\"\n"
                               "[detector.a]\n[recognizer.r]\npeople = \"x\"\nsave = \"r.yml\"\n"
                               "[annotator.a]\npicture = \"a.jpg\"\n";
  const std::string output = folder_ + "/made/here";
  start(pipeline, {"--output", output, "--check"}, tool);
  EXPECT_EQ(wait(), 0) << err();
  EXPECT_FALSE(fs::exists(output)) << "only looked";
  start(pipeline, {"--output", output}, tool);
  EXPECT_TRUE(is_up("made/here/r.yml")) << err();
  EXPECT_TRUE(is_up("made/here/a.jpg")) << err();
  signal(SIGTERM);
  EXPECT_EQ(wait(), 0) << err();
  EXPECT_FALSE(fs::exists(folder_ + "/r.yml"));
  EXPECT_FALSE(fs::exists(folder_ + "/a.jpg"));

  start(pipeline, {"--output", tool + "/in-a-file"}, tool);
  EXPECT_EQ(wait(), 1);
  EXPECT_NE(err().find("nothing can be written to the folder '" + tool + "/in-a-file': "),
            std::string::npos)
      << err();
  start(pipeline, {"--output", tool}, tool);
  EXPECT_EQ(wait(), 1);
  EXPECT_NE(err().find(": Not a directory; choose another one with --output"), std::string::npos)
      << err();
  start(pipeline, {"--output", ""}, tool);
  EXPECT_EQ(wait(), 2);
  EXPECT_EQ(err().find("sluiced |"), std::string::npos) << err();
}

// --- the processes of that pipeline
// ------------------------------------------------------------------

std::vector<std::string> arguments;

std::string option(const std::string& name) {
  const auto at = std::find(arguments.begin(), arguments.end(), name);
  return at != arguments.end() && at + 1 != arguments.end() ? at[1] : "";
}

int be_camera() {
  NodeOptions with;
  with.name = "capture-" + option("--name");
  with.socket = option("--socket");
  Node node = must(Node::create(std::move(with)));
  StreamOptions frames;
  frames.pools = {{frame_bytes(PixelFormat::grey, 64, 48)}};
  frames.lanes = {{.depth = 4}};
  frames.max_held = 64;
  frames.on_full = OnFull::drop;
  frames.offered.reliable = false;
  frames.type_name = kFrameType;
  frames.type_hash = type_hash_of(kFrameType);
  Publisher camera = must(node.advertise("camera/" + option("--name") + "/frames", frames));
  SourceInfo source;
  source.expected_interval_ns = 20'000'000;
  source.gaps = 2;
  source.copies = 5;
  source.dropped = 3;
  source.width = 64;
  source.height = 48;
  camera.describe(source);
  for (std::uint64_t number = 0;; ++number) {
    std::this_thread::sleep_for(20ms);
    Loan loan = camera.loan(frames.pools[0].slot_bytes);
    FrameHeader* header = lay_out_frame(loan, PixelFormat::grey, 64, 48);
    if (header == nullptr) continue;
    header->number = number;
    loan.headers.correlation = new_correlation_id();
    loan.headers.origin_ns =
        static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    (void)camera.publish(std::move(loan));
  }
}

int be_stage(StageOptions options, Stage::Handler handler) {
  static Stage* running = nullptr;
  options.socket = option("--socket");
  options.name = option("--node");
  Stage stage = must(Stage::create(std::move(options), std::move(handler)));
  running = &stage;
  ::signal(SIGTERM, [](int) { running->stop(); });
  return stage.run() ? 0 : 1;
}

int be_detector() {
  StageOptions options;
  SubscriptionOptions frames{.mode = DeliveryMode::latest, .max_held = 12};
  if (const std::string group = option("--group"); !group.empty()) {
    frames.mode = DeliveryMode::group;
    frames.group = GroupName{std::string_view{group}};
    frames.credits = 1;
  }
  options.inputs = {{"camera/" + option("--camera") + "/frames", frames}};
  options.outputs = {{"detect/" + option("--name") + "/objects", results_stream(kDetectionsType)}};
  return be_stage(std::move(options), [](Job& job) -> Result<void> {
    auto view = view_frame(job.input());
    if (!view) return std::move(view).error();
    const Detections found{frame_of(job.input(), *view), "fake", {{{1, 2, 3, 4}, 1, "face", {}}}};
    (void)job.publish(must(encode(found)), job.take_input());
    return {};
  });
}

int be_recognizer() {
  StageOptions options;
  options.inputs = {{"detect/" + option("--detector") + "/objects", {}}};
  options.references = {"camera/hall/frames"};
  options.outputs = {
      {"recognize/" + option("--name") + "/identities", results_stream(kIdentitiesType)}};
  return be_stage(std::move(options), [](Job& job) -> Result<void> {
    auto found = decode_detections(job.input().bytes());
    if (!found) return std::move(found).error();
    (void)job.resolve(found->frame.reference);
    Identities identities{found->frame, "fake", {}};
    identities.identities.push_back({{1, 2, 3, 4}, "Grace", 10, 0.75f});
    identities.identities.push_back({{1, 2, 3, 4}, std::string(kUnknownName), 90, 0});
    (void)job.publish(must(encode(identities)), {});
    return {};
  });
}

int be(const std::string& what) {
  if (what == "capture") return be_camera();
  if (what == "detect") return be_detector();
  if (what == "recognize") return be_recognizer();
  return 2;
}

}  // namespace
}  // namespace sluice::test

int main(int argc, char** argv) {
  if (argc > 2 && std::string_view{argv[1]} == "--be") {
    sluice::test::arguments.assign(argv + 3, argv + argc);
    return sluice::test::be(argv[2]);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
