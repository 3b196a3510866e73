// One process of tests/mixed/exchange.py, which starts this program as built for each architecture:
// they exchange frames, work and requests with each other.
//
//   mixed_actor publish NAME READERS COUNT    frames on mixed/NAME/frames, once so many readers are
//   there mixed_actor read    NAME STREAMS COUNT    reliably takes COUNT frames of each of so many
//   streams mixed_actor queue   NAME MEMBERS COUNT    messages on mixed/NAME/work for the group,
//   until all are handled mixed_actor work    NAME 0 0              a member of the group, until
//   SIGTERM mixed_actor serve   NAME 0 0              the service mixed/NAME, until SIGTERM
//   mixed_actor request NAME 0 COUNT SERVICE…   asks each service
//
// Each byte of what is exchanged follows from a number and is checked. The last line is what was
// done, in words that the script expects. Uses the public interface alone.
#include "sluice/frame.hpp"
#include "sluice/node.hpp"
#include "sluice/requester.hpp"
#include "sluice/responder.hpp"

#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace sluice;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kPatience = 60s;
volatile sig_atomic_t stopping = 0;
Responder* responder_to_stop = nullptr;

struct Task {
  std::string name;
  unsigned others = 0;
  std::uint64_t count = 0;
  std::vector<std::string> services;
};

[[noreturn]] void fail(const std::string& sentence) {
  std::fprintf(stderr, "mixed_actor: %s\n", sentence.c_str());
  std::exit(1);
}

template <class T>
T must(Result<T> result) {
  if (!result) fail(result.error().message);
  return std::move(*result);
}

std::byte pattern(std::uint64_t number, std::uint64_t at) {
  return static_cast<std::byte>((number * 2'654'435'761u + at * 40'503u) >> 7);
}

void fill(std::byte* bytes, std::uint64_t size, std::uint64_t number) {
  for (std::uint64_t i = 0; i < size; ++i) bytes[i] = pattern(number, i);
}

bool is_filled(const std::byte* bytes, std::uint64_t size, std::uint64_t number) {
  for (std::uint64_t i = 0; i < size; ++i) {
    if (bytes[i] != pattern(number, i)) return false;
  }
  return true;
}

template <typename Done>
void wait_until(const char* what, Done done) {
  const auto deadline = Clock::now() + kPatience;
  while (!done()) {
    if (Clock::now() > deadline) fail(std::string{"waited in vain for "} + what);
    std::this_thread::sleep_for(5ms);
  }
}

// Every tenth frame is of another size, in the second pool.
std::uint32_t width_of(std::uint64_t number) { return number % 10 == 0 ? 320 : 64; }

void publish_frame(Publisher& publisher, const Task& task, std::uint64_t number) {
  const std::uint32_t width = width_of(number);
  Loan loan = publisher.loan(frame_bytes(PixelFormat::nv12, width, 48));
  if (!loan) fail(std::string{"no loan: "} + to_string(loan.outcome()));
  FrameHeader* header = lay_out_frame(loan, PixelFormat::nv12, width, 48);
  if (header == nullptr) fail("a frame does not fit into its loan");
  header->number = number;
  std::snprintf(header->camera.data(), header->camera.size(), "%s", task.name.c_str());
  for (std::uint32_t i = 0; i < header->plane_count; ++i) {
    fill(loan.data() + header->planes[i].offset, header->planes[i].size, number + i);
  }
  loan.headers.correlation = {number, ~number};
  const Outcome outcome = publisher.publish(std::move(loan));
  if (outcome != Outcome::ok) fail(std::string{"not published: "} + to_string(outcome));
}

void publish(Node& node, const Task& task) {
  StreamOptions options;
  options.pools = {{frame_bytes(PixelFormat::nv12, 64, 48)},
                   {frame_bytes(PixelFormat::nv12, 320, 48), 8}};
  options.lanes = {{.depth = 16}};
  options.full_timeout_ns = 60'000'000'000;
  Publisher publisher = must(node.advertise("mixed/" + task.name + "/frames", options));
  wait_until("readers", [&] { return publisher.acknowledging_count() == task.others; });
  Reference last;
  for (std::uint64_t number = 1; number <= task.count; ++number)
    publish_frame(publisher, task, number);
  wait_until("frames to be handled", [&] { return publisher.backlog(Priority::critical) == 0; });
  std::printf("published %llu\n", static_cast<unsigned long long>(publisher.stats().published));
}

// What is wrong with the frame; empty: nothing.
std::string defect_of(const Sample& sample, std::uint64_t expected, const std::string& publisher) {
  auto view = view_frame(sample);
  if (!view) return view.error().message;
  const FrameHeader& header = view->header;
  if (header.number != expected) return "is frame " + std::to_string(header.number);
  if (header.width != width_of(expected) || header.height != 48) return "has another size";
  if (std::string{header.camera.data()} != publisher)
    return "is from " + std::string{header.camera.data()};
  if (sample.info().correlation != CorrelationId{expected, ~expected})
    return "has another correlation id";
  for (std::uint32_t i = 0; i < header.plane_count; ++i) {
    if (!is_filled(view->plane(i), header.planes[i].size, expected + i)) return "has other pixels";
  }
  return {};
}

void read(Node& node, const Task& task) {
  Subscriber subscriber = must(node.subscribe("mixed/+/frames", {.mode = DeliveryMode::reliable}));
  std::map<std::string, std::uint64_t> taken;  // by topic
  const auto deadline = Clock::now() + 2 * kPatience;
  for (std::uint64_t left = task.count * task.others; left > 0;) {
    if (Clock::now() > deadline) fail(std::to_string(left) + " frames did not come");
    subscriber.wait_for(100ms);
    while (Sample sample = subscriber.take()) {
      const std::string topic{subscriber.topic(sample)};
      const std::string publisher = topic.substr(6, topic.size() - 6 - 7);
      const std::uint64_t expected = ++taken[topic];
      const std::string defect = defect_of(sample, expected, publisher);
      if (!defect.empty())
        fail("frame " + std::to_string(expected) + " of " + topic + ": " + defect);
      subscriber.acknowledge(std::move(sample));
      --left;
    }
  }
  if (subscriber.stats().lost() != 0) fail("frames were lost");
  for (const auto& [topic, count] : taken) {
    std::printf("%s %llu\n", topic.c_str(), static_cast<unsigned long long>(count));
  }
}

void queue(Node& node, const Task& task) {
  StreamOptions options;
  options.pools = {{64}};
  options.lanes = {{.depth = 16}};
  options.full_timeout_ns = 60'000'000'000;
  Publisher publisher = must(node.advertise("mixed/" + task.name + "/work", options));
  wait_until("members", [&] { return publisher.acknowledging_count() == task.others; });
  for (std::uint64_t number = 1; number <= task.count; ++number) {
    Loan loan = publisher.loan(8 + number % 57);
    if (!loan) fail(std::string{"no loan: "} + to_string(loan.outcome()));
    std::memcpy(loan.data(), &number, sizeof number);
    fill(loan.data() + 8, loan.size() - 8, number);
    if (publisher.publish(std::move(loan)) != Outcome::ok) fail("work was not published");
  }
  wait_until("work to be handled", [&] { return publisher.backlog(Priority::critical) == 0; });
  std::printf("published %llu\n", static_cast<unsigned long long>(publisher.stats().published));
}

void work(Node& node, const Task&) {
  Subscriber subscriber = must(node.subscribe(
      "mixed/+/work", {.mode = DeliveryMode::group, .group = "mixed", .credits = 2}));
  std::map<std::string, std::vector<std::uint64_t>> handled;  // by topic
  while (stopping == 0) {
    subscriber.wait_for(50ms);
    while (Sample sample = subscriber.take()) {
      std::uint64_t number = 0;
      std::memcpy(&number, sample.data(), sizeof number);
      if (sample.size() != 8 + number % 57 ||
          !is_filled(sample.data() + 8, sample.size() - 8, number)) {
        fail("work " + std::to_string(number) + " is not what was published");
      }
      handled[std::string{subscriber.topic(sample)}].push_back(number);
      std::this_thread::sleep_for(1ms);  // the others get some too
      subscriber.acknowledge(std::move(sample));
    }
  }
  for (const auto& [topic, numbers] : handled) {
    std::printf("%s", topic.c_str());
    for (const std::uint64_t number : numbers)
      std::printf(" %llu", static_cast<unsigned long long>(number));
    std::printf("\n");
  }
}

// The answer to a request: its bytes from the last to the first, then the name of the service.
std::vector<std::byte> answer_to(std::span<const std::byte> request, std::string_view service) {
  std::vector<std::byte> answer{request.rbegin(), request.rend()};
  for (const char c : service) answer.push_back(static_cast<std::byte>(c));
  return answer;
}

void serve(Node& node, const Task& task) {
  const std::string service = "mixed/" + task.name;
  auto responder = must(Responder::create(node, service, [&](Request& request) {
    (void)request.reply(answer_to(request.payload(), service));
  }));
  responder_to_stop = responder.get();
  if (stopping == 0) {
    if (auto ran = responder->run(); !ran) fail(ran.error().message);
  }
  responder_to_stop = nullptr;
  std::printf("answered %llu\n", static_cast<unsigned long long>(responder->counts().handled));
}

void request(Node& node, const Task& task) {
  for (const std::string& service : task.services) {
    auto requester = must(Requester::create(node, service, {.timeout = kPatience}));
    wait_until("a service", [&] { return requester->is_served(); });
    for (std::uint64_t number = 1; number <= task.count; ++number) {
      std::vector<std::byte> question(1 + number % 900);
      fill(question.data(), question.size(), number);
      const Reply reply = requester->call(question);
      if (!reply) fail(service + ": " + to_string(reply.status.code) + ", " + reply.status.message);
      const auto expected = answer_to(question, service);
      if (!std::equal(expected.begin(), expected.end(), reply.payload().begin(),
                      reply.payload().end())) {
        fail(service + " answered something else to request " + std::to_string(number));
      }
    }
    std::printf("%s %llu\n", service.c_str(),
                static_cast<unsigned long long>(requester->counts().ok));
  }
}

const std::map<std::string, void (*)(Node&, const Task&)> kRoles{
    {"publish", publish}, {"read", read},   {"queue", queue},
    {"work", work},       {"serve", serve}, {"request", request}};

}  // namespace

int main(int argc, char** argv) {
  const auto role = kRoles.find(argc > 1 ? argv[1] : "");
  if (argc < 5 || role == kRoles.end()) {
    std::fputs("usage: mixed_actor ROLE NAME OTHERS COUNT [SERVICE…]\n", stderr);
    return 2;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGTERM, [](int) {
    stopping = 1;
    if (responder_to_stop != nullptr) responder_to_stop->stop();
  });
  Task task{argv[2],
            static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10)),
            std::strtoull(argv[4], nullptr, 10),
            {argv + 5, argv + argc}};
  NodeOptions options;
  options.name = role->first + "-" + task.name;
  options.connect_timeout = kPatience;
  Node node = must(Node::create(options));
  role->second(node, task);
  return 0;
}
