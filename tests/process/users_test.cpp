// Processes of another user: what they get, what they do not get, and what they cannot disturb.
// Needs root, to become somebody else.
#include "sluice/node.hpp"
#include "tests/support/broker_process.hpp"

#include <climits>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <grp.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

constexpr uid_t kNobody = 65534;

// A child of user nobody. Fork before any node exists: a node has a thread.
pid_t as_nobody(const std::function<int()>& run) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0) ::_exit(90);
  ::_exit(run());
}

int exit_code(pid_t child) {
  int code = 0;
  ::waitpid(child, &code, 0);
  return WIFEXITED(code) ? WEXITSTATUS(code) : 200 + WTERMSIG(code);
}

Result<Node> node_at(const std::string& socket, const char* name) {
  NodeOptions o;
  o.name = name;
  o.socket = socket;
  o.connect_timeout = 5s;
  return Node::create(std::move(o));
}

StreamOptions numbers() {
  StreamOptions o;
  o.pools = {{64}};
  o.max_held = 64;
  return o;
}

class Users : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  }
  // A broker that lets nobody subscribe to open/#, with few subscriptions, and root do everything.
  static std::vector<std::string> open_house() {
    char name[] = "/tmp/sluice-policy-XXXXXX";
    const int fd = ::mkstemp(name);
    const std::string text =
        "[limits.user.nobody]\nsubscriptions = 3\n"
        "[[allow]]\nuser = \"root\"\n"
        "[[allow]]\nuser = \"nobody\"\nactions = \"subscribe\"\nfilters = \"open/#\"\n";
    EXPECT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    ::close(fd);
    return {"--config", name};
  }
};

TEST_F(Users, OthersAreNotLetInByDefault) {
  BrokerProcess broker{SLUICE_SLUICED};
  auto mine = node_at(broker.socket(), "mine");  // and so the broker is up
  ASSERT_TRUE(mine) << mine.error().message;
  const std::string socket = broker.socket();
  const pid_t child = as_nobody([&] {
    auto node = node_at(socket, "stranger");
    return node ? 1 : node.error().code == Errc::refused ? 0 : 2;
  });
  EXPECT_EQ(exit_code(child), 0);
}

TEST_F(Users, OthersGetWhatThePolicyGivesAndNoMore) {
  BrokerProcess broker{SLUICE_SLUICED, open_house()};
  const std::string socket = broker.socket();
  const pid_t child = as_nobody([&] {
    auto node = node_at(socket, "guest");
    if (!node) return 10;
    auto open = node->subscribe("open/#");
    if (!open) return 11;
    if (auto secret = node->subscribe("secret/x"); secret) return 12;
    if (auto all = node->subscribe("#"); all) return 13;
    if (auto own = node->advertise("open/x", numbers()); own) return 14;
    if (auto monitor = node->monitor(); monitor) return 15;
    auto second = node->subscribe("open/a");
    auto third = node->subscribe("open/b");
    if (!second || !third) return 16;
    auto fourth = node->subscribe("open/c");
    if (fourth || fourth.error().message.find("subscriptions") == std::string::npos) return 17;
    if (open->wait_for(10s) != Outcome::ok) return 18;
    const Sample sample = open->take();
    return sample && open->topic(sample) == "open/x" ? 0 : 19;
  });
  auto node = node_at(socket, "host");
  ASSERT_TRUE(node) << node.error().message;
  auto secret = node->advertise("secret/x", numbers());
  auto open = node->advertise("open/x", numbers());
  ASSERT_TRUE(secret && open);
  ASSERT_TRUE(eventually([&] { return open->subscriber_count() == 1; }));
  for (Publisher* publisher : {&*secret, &*open}) {
    Loan loan = publisher->loan(8);
    ASSERT_TRUE(loan);
    publisher->publish(std::move(loan));
  }
  EXPECT_EQ(exit_code(child), 0);
  EXPECT_EQ(secret->subscriber_count(), 0u);
}

// Everything that the kernel lets one do to a futex word that one can read: moving its waiters to a
// word of one's own, where nobody wakes them, and now and then waking them, or waiting in their
// place.
void torment(std::uint32_t* word, bool thoroughly) {
  const std::uint32_t value = *static_cast<volatile std::uint32_t*>(word);
  static std::uint32_t parking = 0;
  ::syscall(SYS_futex, word, FUTEX_CMP_REQUEUE, 0, INT_MAX, &parking, value);
  if (!thoroughly) return;
  ::syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  const timespec no_time{0, 1'000};
  ::syscall(SYS_futex, word, FUTEX_WAIT, value, &no_time, nullptr, 0);
}

// All shared memory of this process, and all its eventfds, for a while.
int steal(std::chrono::milliseconds duration) {
  struct Range {
    std::uintptr_t begin, end;
  };
  std::vector<Range> ranges;
  std::ifstream maps{"/proc/self/maps"};
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:sluice-wakes") == std::string::npos &&
        line.find("memfd:sluice-control") == std::string::npos &&
        line.find("memfd:sluice-readers") == std::string::npos) {
      continue;
    }
    Range range{};
    char dash = 0;
    std::istringstream{line} >> std::hex >> range.begin >> dash >> range.end;
    range.end = std::min(range.end, range.begin + 2 * 4096);  // where something is
    ranges.push_back(range);
  }
  if (ranges.empty()) return 21;
  const auto until = std::chrono::steady_clock::now() + duration;
  for (unsigned pass = 1; std::chrono::steady_clock::now() < until; ++pass) {
    for (const Range& range : ranges) {
      for (std::uintptr_t at = range.begin; at < range.end; at += 64) {
        torment(reinterpret_cast<std::uint32_t*>(at), pass % 100 == 0);
      }
    }
    for (int fd = 3; fd < 64; ++fd) {
      char target[64] = {};
      const std::string link = "/proc/self/fd/" + std::to_string(fd);
      if (::readlink(link.c_str(), target, sizeof target - 1) <= 0) continue;
      if (std::strstr(target, "eventfd") == nullptr) continue;
      ::fcntl(fd, F_SETFL, O_NONBLOCK);
      std::uint64_t value = 0;
      (void)!::read(fd, &value, sizeof value);
    }
  }
  return 0;
}

TEST_F(Users, WhoStealsWakeUpsStealsOnlyItsOwn) {
  BrokerProcess broker{SLUICE_SLUICED, open_house()};
  const std::string socket = broker.socket();
  const pid_t thief = as_nobody([&] {
    auto node = node_at(socket, "thief");
    if (!node) return 10;
    auto subscriber = node->subscribe("open/#", {.pollable = true});
    if (!subscriber) return 11;
    if (!eventually([&] { return subscriber->stream_count() == 1; })) return 12;
    return steal(2s);
  });
  auto node = node_at(socket, "host");
  ASSERT_TRUE(node) << node.error().message;
  auto publisher = node->advertise("open/x", numbers());
  ASSERT_TRUE(publisher);
  auto sleeper = node->subscribe("open/x", {.spin_ns = 0});
  ASSERT_TRUE(sleeper);
  ASSERT_TRUE(eventually([&] { return publisher->subscriber_count() == 2; }));
  std::vector<std::chrono::nanoseconds> late;
  int status = 0;
  while (::waitpid(thief, &status, WNOHANG) == 0) {
    std::thread publish{[&] {
      std::this_thread::sleep_for(3ms);  // the sleeper sleeps by now
      Loan loan = publisher->loan(8);
      if (loan) publisher->publish(std::move(loan));
    }};
    ASSERT_EQ(sleeper->wait_for(5s), Outcome::ok);
    const Sample sample = sleeper->take();
    publish.join();
    ASSERT_TRUE(sample);
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    late.push_back(now - std::chrono::nanoseconds{sample.info().publish_ns});
  }
  EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : 200, 0);
  ASSERT_GT(late.size(), 50u);
  // A stolen wake-up is noticed after 100 ms. A loaded machine may be slow now and then, but not in
  // one of ten.
  std::sort(late.begin(), late.end());
  EXPECT_LT(late[late.size() * 9 / 10], 80ms);
}

// Goes where nothing but the broker's socket is: own mounts, own System V and POSIX names, own
// processes. The path of the socket there; empty when this machine does not allow it.
std::string alone_with(const std::string& socket) {
  if (::unshare(CLONE_NEWNS | CLONE_NEWIPC) != 0) return {};
  const int fd = ::open(socket.c_str(), O_PATH | O_CLOEXEC);
  const std::string source = "/proc/self/fd/" + std::to_string(fd);
  const char* place = "/run/broker.sock";
  if (fd < 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("none", "/dev/shm", "tmpfs", 0, nullptr) != 0 ||
      ::mount("none", "/run", "tmpfs", 0, nullptr) != 0) {
    return {};
  }
  const int file = ::open(place, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  ::close(file);
  if (::mount(source.c_str(), place, nullptr, MS_BIND, nullptr) != 0 ||
      ::mount(nullptr, place, nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) != 0) {
    return {};  // to connect is not to write
  }
  if (::mount("none", "/tmp", "tmpfs", 0, nullptr) != 0) return {};
  return ::unshare(CLONE_NEWPID) == 0 ? place : "";
}

// Runs as the first process of its own process namespace.
pid_t in_a_container(const std::string& socket, const std::function<int(const std::string&)>& run) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  const std::string place = alone_with(socket);
  if (place.empty()) ::_exit(77);
  const pid_t inner = ::fork();
  if (inner == 0) ::_exit(::getpid() == 1 ? run(place) : 91);
  ::_exit(exit_code(inner));
}

TEST_F(Users, ContainersThatShareOnlyTheSocketExchangeFrames) {
  constexpr std::uint64_t kFrames = 50;
  constexpr std::uint64_t kBytes = 1 << 20;
  BrokerProcess broker{SLUICE_SLUICED};
  const std::string socket = broker.socket();
  ASSERT_TRUE(eventually([&] { return ::access(socket.c_str(), F_OK) == 0; }));
  const pid_t camera = in_a_container(socket, [&](const std::string& place) {
    auto node = node_at(place, "camera");
    if (!node) return 10;
    StreamOptions o;
    o.pools = {{kBytes}};
    o.lanes = {{.depth = 4}};
    auto publisher = node->advertise("camera/front/frames", o);
    if (!publisher) return 11;
    if (!eventually([&] { return publisher->subscriber_count() == 1; })) return 12;
    for (std::uint64_t i = 1; i <= kFrames; ++i) {
      Loan loan = publisher->loan(kBytes);
      if (!loan) return 13;
      std::memset(loan.data(), static_cast<int>(i), kBytes);
      publisher->publish(std::move(loan));
    }
    return eventually([&] {
      publisher->collect();
      return publisher->subscriber_count() == 0;
    })
               ? 0
               : 14;
  });
  const pid_t detector = in_a_container(socket, [&](const std::string& place) {
    auto node = node_at(place, "detector");
    if (!node) return 20;
    auto subscriber = node->subscribe("camera/+/frames", {.mode = DeliveryMode::reliable});
    if (!subscriber) return 21;
    for (std::uint64_t i = 1; i <= kFrames; ++i) {
      if (subscriber->wait_for(10s) != Outcome::ok) return 22;
      Sample sample = subscriber->take();
      if (!sample || sample.size() != kBytes) return 23;
      const auto wanted = static_cast<std::byte>(i);
      if (sample.data()[0] != wanted || sample.data()[kBytes - 1] != wanted) return 24;
      subscriber->acknowledge(std::move(sample));
    }
    return 0;
  });
  const int one = exit_code(camera);
  const int two = exit_code(detector);
  if (one == 77 || two == 77) GTEST_SKIP() << "no namespaces here";
  EXPECT_EQ(one, 0);
  EXPECT_EQ(two, 0);
}

}  // namespace
}  // namespace sluice::test
