// The broker as a program: started twice, killed, told to read its configuration again.
#include "tests/support/broker_client.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/emulated.hpp"
#include "tests/support/sanitized.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/file.h>

#include <fstream>
#include <optional>

namespace sluice::test {
namespace {

constexpr const char* kProgram = SLUICE_SLUICED;

// Runs the program to its end; its exit code and what it wrote.
struct Finished {
  int code = -1;
  std::string output;
};
Finished run(const std::string& arguments) {
  Finished finished;
  const std::string command = emulator() + " " + kProgram + " " + arguments + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return finished;
  char line[512];
  while (std::fgets(line, sizeof line, pipe) != nullptr) finished.output += line;
  const int status = ::pclose(pipe);
  finished.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return finished;
}

class BrokerProcessTest : public testing::Test {
 protected:
  // Connects and says Hello, as soon as the broker is there.
  BrokerClient node(BrokerProcess& broker, std::uint64_t id) {
    shm::UniqueFd socket;
    EXPECT_TRUE(eventually([&] {
      socket = connect_to(broker.socket());
      return socket.valid();
    }));
    BrokerClient client{std::move(socket)};
    EXPECT_TRUE(client.hello(id, "node" + std::to_string(id))) << client.failure.message;
    return client;
  }
  static void write(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
  }
};

TEST_F(BrokerProcessTest, ASecondBrokerOnTheSameSocketIsRefused) {
  BrokerProcess broker{kProgram};
  BrokerClient client = node(broker, 1);
  const Finished second = run("--socket " + broker.socket());
  EXPECT_EQ(second.code, 1);
  EXPECT_NE(second.output.find("another broker listens on"), std::string::npos) << second.output;
  EXPECT_TRUE(client.subscribe(20, "t")) << "the first one goes on";
  node(broker, 2);
}

TEST_F(BrokerProcessTest, ASocketThatSomebodyElseListensOnIsLeftAlone) {
  BrokerProcess broker{kProgram};
  node(broker, 1);
  // A service manager holds the socket and no lock.
  ::unlink((broker.socket() + ".lock").c_str());
  const Finished second = run("--socket " + broker.socket());
  EXPECT_EQ(second.code, 1);
  EXPECT_NE(second.output.find("another broker listens on"), std::string::npos) << second.output;
  node(broker, 2);
}

TEST_F(BrokerProcessTest, SomethingElseInTheSocketsPlaceIsLeftAlone) {
  BrokerProcess broker{kProgram};
  node(broker, 1);
  const std::string path = broker.folder() + "/file";
  write(path, "precious");
  const Finished other = run("--socket " + path);
  EXPECT_EQ(other.code, 1);
  EXPECT_NE(other.output.find("not a socket"), std::string::npos) << other.output;
  EXPECT_EQ(std::filesystem::file_size(path), 8u);
}

TEST_F(BrokerProcessTest, SigtermEndsItInOrder) {
  BrokerProcess broker{kProgram};
  BrokerClient client = node(broker, 1);
  EXPECT_EQ(broker.kill(SIGTERM), 0);
  EXPECT_FALSE(std::filesystem::exists(broker.socket()));
  EXPECT_TRUE(client.is_closed());
}

TEST_F(BrokerProcessTest, ANewBrokerReplacesWhatAKilledOneLeft) {
  BrokerProcess broker{kProgram};
  const FakeStream stream;
  std::uint64_t broker_id = 0;
  for (int i = 0; i < 20; ++i) {
    BrokerClient publisher = node(broker, 1);
    BrokerClient subscriber = node(broker, 2);
    EXPECT_NE(publisher.welcome.broker_id, broker_id);
    broker_id = publisher.welcome.broker_id;
    ASSERT_TRUE(publisher.advertise(stream, "t")) << publisher.failure.message;
    ASSERT_TRUE(subscriber.subscribe(20, "t")) << subscriber.failure.message;
    ASSERT_TRUE(subscriber.next<protocol::FoundT>());
    EXPECT_EQ(broker.kill(SIGKILL), -SIGKILL);
    EXPECT_TRUE(std::filesystem::exists(broker.socket()));
    broker.start();
  }
}

TEST_F(BrokerProcessTest, ADeadProcessIsNoticedAlsoWhenItsSocketLivesOn) {
  BrokerProcess broker{kProgram};
  BrokerClient subscriber = node(broker, 2);
  ASSERT_TRUE(subscriber.subscribe(20, "t"));
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t publisher = ::fork();
  if (publisher == 0) {
    BrokerClient client = node(broker, 1);
    if (::fork() == 0) {  // a child that inherits the socket
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::sleep(30);
      ::_exit(0);
    }
    const bool advertised = client.advertise(FakeStream{}, "t");
    (void)!::write(ready[1], "x", advertised ? 1 : 0);
    ::pause();
    ::_exit(0);
  }
  ASSERT_TRUE(subscriber.next<protocol::FoundT>());
  ::kill(publisher, SIGKILL);
  const auto gone = subscriber.next<protocol::GoneT>();
  ::waitpid(publisher, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
  ASSERT_TRUE(gone);
  EXPECT_EQ(gone->message.body.AsGone()->cause, protocol::Cause::died);
}

TEST_F(BrokerProcessTest, ASilentNodeIsStuckAndAliveAgainAndKept) {
  BrokerProcess broker{kProgram};
  BrokerClient watcher = node(broker, 3);
  BrokerClient silent = node(broker, 1);
  ASSERT_TRUE(silent.subscribe(20, "t"));
  ASSERT_TRUE(watcher.watch(40, "#"));
  const auto state_of_silent = [&]() -> std::optional<protocol::NodeState> {
    for (int i = 0; i < 60; ++i) {
      watcher.send(protocol::PingT{}, {}, false);
      const auto message = watcher.next<protocol::EventT>(1000);
      if (!message) continue;
      const protocol::EventT& event = *message->message.body.AsEvent();
      if (event.kind == protocol::Kind::node && event.change == protocol::Change::gone) return {};
      if (event.kind == protocol::Kind::node && event.node_id == 1 &&
          event.change == protocol::Change::changed) {
        return event.state;
      }
    }
    return {};
  };
  EXPECT_EQ(state_of_silent(), protocol::NodeState::stuck);
  silent.send(protocol::PingT{}, {}, false);
  EXPECT_EQ(state_of_silent(), protocol::NodeState::alive);
  EXPECT_TRUE(silent.subscribe(21, "t"));
}

// --- the configuration
// -------------------------------------------------------------------------------

TEST_F(BrokerProcessTest, CheckSaysWhatIsWrongAndWhere) {
  char folder[] = "/tmp/sluice-test-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/sluiced.toml";
  write(path, "[[allow]]\nuser = \"root\"\n");
  EXPECT_EQ(run("--check " + path).code, 0);
  write(path, "\n\nnonsense = 1\n");
  const Finished wrong = run("--check " + path);
  EXPECT_EQ(wrong.code, 1);
  EXPECT_NE(wrong.output.find(path + ":3"), std::string::npos) << wrong.output;
  EXPECT_EQ(run("--config " + path + " --socket " + folder + "/s").code, 1) << "does not start";
  std::filesystem::remove_all(folder);
}

TEST_F(BrokerProcessTest, SighupPutsAGoodFileInForceAndAWrongOneNot) {
  char folder[] = "/tmp/sluice-test-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/sluiced.toml";
  write(path, "");
  BrokerProcess broker{kProgram, {"--config", path}};
  BrokerClient client = node(broker, 1);
  ASSERT_TRUE(client.subscribe(20, "a"));
  ASSERT_TRUE(client.subscribe(21, "b"));

  write(path, "[[allow]]\nwrong =\n");
  ::kill(broker.pid(), SIGHUP);
  EXPECT_FALSE(client.has<protocol::RevokedT>(300));
  EXPECT_TRUE(client.subscribe(22, "c"));

  write(path, "[[allow]]\neverybody = true\nactions = \"subscribe\"\nfilters = \"a\"\n");
  ::kill(broker.pid(), SIGHUP);
  std::size_t revoked = 0;
  while (revoked < 2 && client.has<protocol::RevokedT>(5000)) ++revoked;
  EXPECT_EQ(revoked, 2u) << "b and c";
  EXPECT_TRUE(client.subscribe(23, "a"));
  EXPECT_FALSE(client.subscribe(24, "b"));
  std::filesystem::remove_all(folder);
}

// --- as a service
// ------------------------------------------------------------------------------------

TEST_F(BrokerProcessTest, TakesTheSocketOfAServiceManagerAndTellsItWhatItDoes) {
  char folder[] = "/tmp/sluice-test-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/s";
  const std::string manager_path = std::string(folder) + "/notify";
  const auto bound = [](const std::string& where, int type) {
    shm::UniqueFd socket{::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, where.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return socket;
  };
  const shm::UniqueFd listening = bound(path, SOCK_SEQPACKET);
  ASSERT_EQ(::listen(listening.get(), 16), 0);
  const shm::UniqueFd manager = bound(manager_path, SOCK_DGRAM);
  const pid_t broker = ::fork();
  if (broker == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::dup2(listening.get(), 3) == listening.get()) ::fcntl(3, F_SETFD, 0);
    ::setenv("LISTEN_FDS", "1", 1);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("NOTIFY_SOCKET", manager_path.c_str(), 1);
    ::setenv("WATCHDOG_USEC", "200000", 1);
    ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
    ::execl(kProgram, kProgram, "--log-level", "error", nullptr);
    ::_exit(127);
  }
  const auto told = [&](const std::string& word) {
    for (;;) {
      pollfd p{manager.get(), POLLIN, 0};
      char text[256] = {};
      if (::poll(&p, 1, 5000) != 1 || ::recv(manager.get(), text, sizeof text - 1, 0) < 0) {
        return false;
      }
      if (std::string(text).find(word) != std::string::npos) return true;
    }
  };
  EXPECT_TRUE(told("READY=1"));
  EXPECT_TRUE(told("WATCHDOG=1"));
  EXPECT_TRUE(told("WATCHDOG=1"));
  BrokerClient client{connect_to(path)};
  EXPECT_TRUE(client.hello(1));
  ::kill(broker, SIGHUP);
  EXPECT_TRUE(told("RELOADING=1"));
  EXPECT_TRUE(told("READY=1"));
  ::kill(broker, SIGTERM);
  EXPECT_TRUE(told("STOPPING=1"));
  int status = -1;
  ::waitpid(broker, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(std::filesystem::exists(path)) << "the socket is the manager's";
  std::filesystem::remove_all(folder);
}

// How many pieces of shared memory the broker has mapped.
std::size_t mapped(const BrokerProcess& broker) {
  std::ifstream maps("/proc/" + std::to_string(broker.pid()) + "/maps");
  std::size_t n = 0;
  for (std::string line; std::getline(maps, line);) n += line.find("memfd:") != std::string::npos;
  return n;
}

TEST_F(BrokerProcessTest, AnIdleBrokerStaysBelowEightMebibytes) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer needs more";
  BrokerProcess broker{kProgram};
  BrokerClient client = node(broker, 1);
  if (!std::filesystem::equivalent("/proc/" + std::to_string(broker.pid()) + "/exe", kProgram)) {
    GTEST_SKIP() << "the broker runs in an emulator, which needs more";
  }
  ASSERT_TRUE(client.watch(40, "$sys/#"));
  for (int streams = 0; streams < 3;) {  // of its own node
    const auto event = client.next<protocol::EventT>();
    ASSERT_TRUE(event);
    streams += event->message.body.AsEvent()->kind == protocol::Kind::stream;
  }
  std::ifstream status("/proc/" + std::to_string(broker.pid()) + "/status");
  std::string word;
  std::uint64_t kib = 0;
  while (status >> word && word != "VmRSS:") {
  }
  status >> kib;
  std::printf("resident: %llu KiB\n", static_cast<unsigned long long>(kib));
  EXPECT_LT(kib, 8u * 1024);
}

TEST_F(BrokerProcessTest, KeepsNothingMappedOfWhatItIsHanded) {
  BrokerProcess broker{kProgram};
  BrokerClient client = node(broker, 1);
  ASSERT_TRUE(client.watch(40, "$sys/#"));
  for (int streams = 0; streams < 3;) {
    const auto event = client.next<protocol::EventT>();
    ASSERT_TRUE(event);
    streams += event->message.body.AsEvent()->kind == protocol::Kind::stream;
  }
  const std::size_t own = mapped(broker);
  const FakeStream stream;
  ASSERT_TRUE(client.advertise(stream, "t"));
  ASSERT_TRUE(client.subscribe(20, "t"));
  EXPECT_EQ(mapped(broker), own);
}

// --- other users
// -------------------------------------------------------------------------------------

TEST_F(BrokerProcessTest, AnotherUserMayNotConnectByDefault) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  BrokerProcess broker{kProgram};
  node(broker, 1);
  const pid_t other = ::fork();
  if (other == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(2);
    BrokerClient client{connect_to(broker.socket())};
    const bool in = client.hello(2);
    const bool told = client.failure.code == static_cast<std::uint8_t>(Errc::refused);
    ::_exit(in ? 3 : told ? 0 : 4);
  }
  int status = -1;
  ::waitpid(other, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace sluice::test
