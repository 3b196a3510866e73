// A broker, a RouDi, the gateway between them, and iceoryx's own examples.
#pragma once

#include "sluice/node.hpp"
#include "sluice/typed.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/talking_program.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace sluice {
namespace test {

using namespace std::chrono_literals;

inline constexpr auto kPatience = 20s;

inline Deadline in(std::chrono::nanoseconds time) {
  return std::chrono::steady_clock::now() + time;
}

// As the examples have it in their topic_data.hpp.
struct RadarObject {
  double x = 0, y = 0, z = 0;
};

}  // namespace test
// As a program outside of this namespace would have it.
template <>
struct TypeName<test::RadarObject> {
  static constexpr std::string_view value = "RadarObject";
};
namespace test {

class Iceoryx : public testing::Test {
 protected:
  explicit Iceoryx(std::vector<std::string> broker_arguments = {})
      : broker_(SLUICE_SLUICED, std::move(broker_arguments)) {}

  [[nodiscard]] std::string path(const std::string& name) const {
    return broker_.folder() + "/" + name;
  }
  static std::string example(const std::string& name) {
    return std::string(SLUICE_ICEORYX_EXAMPLES) + "/" + name;
  }
  std::unique_ptr<TalkingProgram> start(std::vector<std::string> command) {
    return std::make_unique<TalkingProgram>(std::move(command),
                                            path("said" + std::to_string(++starts_)));
  }

  void start_roudi() {
    std::ofstream{path("roudi.toml")} << "[general]\nversion = 1\n[[segment]]\n"
                                         "[[segment.mempool]]\nsize = 256\ncount = 500\n"
                                         "[[segment.mempool]]\nsize = 65536\ncount = 20\n";
    roudi_ = start({SLUICE_ROUDI, "--config-file", path("roudi.toml")});
    ASSERT_TRUE(eventually(
        [&] { return roudi_->out().find("RouDi is ready") != std::string::npos; }, kPatience))
        << roudi_->out() << roudi_->err();
  }
  std::unique_ptr<TalkingProgram> start_gateway(const std::string& config) {
    const std::string file = path("gateway" + std::to_string(++starts_) + ".toml");
    std::ofstream{file} << config;
    return start({SLUICE_ICEORYX, "--config", file, "--socket", broker_.socket()});
  }
  Node node(const std::string& name) {
    NodeOptions options;
    options.name = name;
    options.socket = broker_.socket();
    auto made = Node::create(options);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(made).value();
  }
  static Subscriber subscriber(Node& node, const std::string& filter) {
    auto made = node.subscribe(filter);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(made).value();
  }
  static Publisher publisher(Node& node, const std::string& topic) {
    StreamOptions options;
    options.pools = {{4'096}};
    auto made = node.advertise(topic, options);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(made).value();
  }
  // Waits for one; an empty one after long.
  static Sample take(Subscriber& from) {
    const Deadline until = in(kPatience);
    for (;;) {
      Sample sample = from.take();
      if (sample || std::chrono::steady_clock::now() > until) return sample;
      (void)from.wait_for(50ms);
    }
  }
  // What comes from now on.
  static Sample take_next(Subscriber& from) {
    while (Sample old = from.take()) old.release();
    return take(from);
  }
  static RadarObject radar(const Sample& sample) {
    RadarObject object;
    EXPECT_EQ(sample.size(), sizeof object);
    std::memcpy(&object, sample.data(), std::min<std::size_t>(sample.size(), sizeof object));
    return object;
  }
  static Outcome publish(Publisher& to, const RadarObject& object, Headers headers = {}) {
    Loan loan = to.loan(sizeof object);
    if (!loan) return loan.outcome();
    std::memcpy(loan.data(), &object, sizeof object);
    loan.headers = headers;
    return to.publish(std::move(loan));
  }
  // Publishes objects with rising x until `done`.
  template <class Done>
  static bool publish_until(Publisher& to, Done done) {
    double x = 1'000;
    return eventually(
        [&] {
          (void)publish(to, {++x, x, x});
          std::this_thread::sleep_for(20ms);
          return done();
        },
        kPatience);
  }
  // The numbers that stand behind `words` in what a program said.
  static std::vector<double> numbers(const std::string& text, const std::string& words) {
    std::vector<double> all;
    for (auto at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) {
      all.push_back(std::strtod(text.c_str() + at + words.size(), nullptr));
    }
    return all;
  }
  // The worker of a gateway.
  static pid_t child_of(pid_t parent) {
    std::ifstream file{"/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) +
                       "/children"};
    pid_t child = 0;
    file >> child;
    return child;
  }
  static bool is_replaced(pid_t worker, const TalkingProgram& gateway) {
    return eventually(
        [&] {
          const pid_t next = child_of(gateway.pid());
          return next > 0 && next != worker;
        },
        kPatience);
  }
  // Waits until all threads of a process sleep. One that is killed while it holds a mutex in
  // iceoryx's memory leaves it locked, and RouDi, which wants it to clear up behind the dead, hangs
  // for good.
  static void let_rest(pid_t process) {
    EXPECT_TRUE(eventually(
        [&] {
          for (const auto& thread :
               std::filesystem::directory_iterator{"/proc/" + std::to_string(process) + "/task"}) {
            std::ifstream file{thread.path() / "stat"};
            const std::string stat{std::istreambuf_iterator<char>{file}, {}};
            if (stat.find(") S ") == std::string::npos) return false;
          }
          return true;
        },
        kPatience));
  }

  test::BrokerProcess broker_;
  std::unique_ptr<TalkingProgram> roudi_;
  int starts_ = 0;
};

inline constexpr const char* kInward = R"(
[[route]]
from = "iceoryx"
service = "Radar"
topic = "radar/{instance}/{event}"
)";
inline constexpr const char* kOutward = R"(
[[route]]
from = "sluice"
filter = "objects/+"
service = "Radar"
instance = "{1}"
event = "Object"
)";

}  // namespace test
}  // namespace sluice
