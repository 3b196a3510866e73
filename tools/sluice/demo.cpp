// sluice demo: one producer process and three consumer processes share one stream of frames.
//
// The producer draws a moving pattern into the slots of its stream. Each consumer reads in another
// delivery mode, checks every pixel of the luma plane in place, and pretends to work: the viewer
// wants the newest frame and is slow, so it skips; the detector takes every frame it can keep up
// with; the recorder is reliable, the producer waits for it. All of them report to the parent, which
// prints a line per process and second and checks at the end that every frame is accounted for.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "shm/fd.hpp"
#include "sluice/frame.hpp"
#include "sluice/publisher.hpp"
#include "sluice/subscriber.hpp"
#include "tools/sluice/verb.hpp"

namespace sluice::tools {
namespace {

using nlohmann::json;
using shm::UniqueFd;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

struct DemoOptions {
  double seconds = 10;
  double rate_hz = 30;
  std::uint32_t width = 1920;
  std::uint32_t height = 1080;
  bool json = false;
};

struct Consumer {
  const char* name;
  DeliveryMode mode;
  const char* mode_name;
  milliseconds work;
};
constexpr std::array kConsumers{
    Consumer{"viewer", DeliveryMode::latest, "latest", milliseconds{50}},
    Consumer{"detector", DeliveryMode::next, "next", milliseconds{15}},
    Consumer{"recorder", DeliveryMode::reliable, "reliable", milliseconds{0}},
};

struct SocketPair {
  UniqueFd ours;
  UniqueFd theirs;
};

struct Child {
  std::string name;
  pid_t pid = -1;
  UniqueFd reports;  // read end; one JSON object per packet
};

volatile sig_atomic_t stop_requested = 0;
void request_stop(int) { stop_requested = 1; }

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}
void must(Result<void>&& result) {
  if (!result) throw std::runtime_error(result.error().message);
}

SocketPair make_pair_of_sockets() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw std::runtime_error(std::string("socketpair: ") + std::strerror(errno));
  }
  return {UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

void report(int socket, const json& message) {
  const std::string text = message.dump();
  (void)::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
}

// The value that every luma pixel of a row has.
int shade(std::uint64_t frame, std::uint32_t row) {
  return static_cast<int>((frame * 3 + row) & 0xff);
}

void draw(Loan& loan, const DemoOptions& options, std::uint64_t number) {
  FrameHeader* header = lay_out_frame(loan, PixelFormat::nv12, options.width, options.height);
  if (header == nullptr) throw std::runtime_error("the frame does not fit its slot");
  header->number = number;
  header->sensor_ns = static_cast<std::uint64_t>(
      nanoseconds{Clock::now().time_since_epoch()}.count());
  std::strncpy(header->camera.data(), "demo", header->camera.size() - 1);
  const PlaneLayout& luma = header->planes[0];
  for (std::uint32_t row = 0; row < luma.rows; ++row) {
    std::memset(loan.data() + luma.offset + std::size_t{row} * luma.stride, shade(number, row),
                luma.stride);
  }
  const PlaneLayout& chroma = header->planes[1];
  std::memset(loan.data() + chroma.offset, 128, static_cast<std::size_t>(chroma.size));
}

// Whether the sample is the frame that its number says, every pixel of it.
bool check(const Sample& sample, std::uint64_t& number) {
  auto view = view_frame(sample);
  if (!view) return false;
  number = view->header.number;
  const PlaneLayout& luma = view->header.planes[0];
  for (std::uint32_t row = 0; row < luma.rows; ++row) {
    const std::byte* at = view->plane(0) + std::size_t{row} * luma.stride;
    // All bytes of the row are equal when the row equals itself moved by one.
    if (at[0] != static_cast<std::byte>(shade(number, row)) ||
        std::memcmp(at, at + 1, luma.stride - 1) != 0) {
      return false;
    }
  }
  return true;
}

json producer_report(const Publisher& publisher, bool final) {
  const StreamStats s = publisher.stats();
  return {{"final", final},
          {"published", s.published},
          {"bytes", s.bytes},
          {"wakes", s.wakes},
          {"overwritten", s.overwritten},
          {"waited", s.full_waits},
          {"slots_committed", s.slots_committed},
          {"interval_p50_ms", static_cast<double>(s.interval_p50_ns) / 1e6},
          {"interval_p99_ms", static_cast<double>(s.interval_p99_ns) / 1e6}};
}

void produce(const DemoOptions& options, const std::vector<int>& subscribers, int reports) {
  StreamOptions stream;
  stream.label = "camera/demo/frames";
  stream.lanes[0].depth = 8;
  stream.pools = {{frame_bytes(PixelFormat::nv12, options.width, options.height)}};
  stream.max_held = 8;
  Publisher publisher = must(Publisher::create(stream));
  for (const int socket : subscribers) must(publisher.accept(socket));

  const auto period = std::chrono::duration_cast<nanoseconds>(
      std::chrono::duration<double>(1.0 / options.rate_hz));
  const auto frames = static_cast<std::uint64_t>(options.seconds * options.rate_hz);
  Clock::time_point due = Clock::now();
  Clock::time_point next_report = due + std::chrono::seconds{1};
  for (std::uint64_t number = 1; number <= frames && stop_requested == 0; ++number) {
    Loan loan = publisher.loan(stream.pools[0].slot_bytes);
    if (!loan) throw std::runtime_error(std::string("no loan: ") + to_string(loan.outcome()));
    draw(loan, options, number);
    publisher.publish(std::move(loan));
    if (Clock::now() >= next_report) {
      report(reports, producer_report(publisher, false));
      next_report += std::chrono::seconds{1};
    }
    due += period;
    std::this_thread::sleep_until(due);
  }
  publisher.end();
  report(reports, producer_report(publisher, true));
}

json consumer_report(const Subscriber& subscriber, const Consumer& self, std::uint64_t bad,
                     bool final) {
  const SubscriptionStats s = subscriber.stats();
  return {{"final", final},
          {"mode", self.mode_name},
          {"taken", s.taken},
          {"lost", {{"policy", s.lost_policy},
                    {"full", s.lost_full},
                    {"evicted", s.lost_evicted},
                    {"expired", s.lost_expired},
                    {"invalid", s.lost_invalid}}},
          {"lost_total", s.lost()},
          {"waiting", s.waiting},
          {"bad", bad},
          {"age_p50_ms", static_cast<double>(s.age_p50_ns) / 1e6},
          {"age_p99_ms", static_cast<double>(s.age_p99_ns) / 1e6},
          {"processing_p50_ms", static_cast<double>(s.processing_p50_ns) / 1e6}};
}

void consume(const Consumer& self, int socket, int reports) {
  Subscriber subscriber = must(Subscriber::connect(socket, {.mode = self.mode, .max_held = 2}));
  std::uint64_t bad = 0;
  std::uint64_t last = 0;
  Clock::time_point next_report = Clock::now() + std::chrono::seconds{1};
  for (;;) {
    Sample sample = subscriber.take();
    if (sample) {
      std::uint64_t number = 0;
      // Frames come in order and, with the pattern, prove that nobody wrote into them meanwhile.
      if (!check(sample, number) || number <= last) ++bad;
      last = number;
      std::this_thread::sleep_for(self.work);
      if (!check(sample, number)) ++bad;
      subscriber.acknowledge(sample);
    } else if (sample.outcome() == Outcome::ended) {
      break;
    } else if (sample.outcome() != Outcome::empty) {
      throw std::runtime_error(std::string("take: ") + to_string(sample.outcome()));
    }
    if (Clock::now() >= next_report) {
      report(reports, consumer_report(subscriber, self, bad, false));
      next_report += std::chrono::seconds{1};
    }
    if (!sample) subscriber.wait_for(milliseconds{200});
  }
  report(reports, consumer_report(subscriber, self, bad, true));
}

// Runs `work` in a process of its own, which dies with this one.
template <class Work>
Child spawn(const std::string& name, Work work) {
  SocketPair reports = make_pair_of_sockets();
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    int code = 0;
    try {
      work(reports.theirs.get());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "sluice demo: %s: %s\n", name.c_str(), error.what());
      code = 1;
    }
    ::_exit(code);
  }
  return {name, pid, std::move(reports.ours)};
}

void print_line(double seconds, const std::string& name, const json& now, const json& before) {
  const bool producer = now.contains("published");
  const char* key = producer ? "published" : "taken";
  const auto count = now[key].get<std::uint64_t>();
  const std::uint64_t earlier = before.is_null() ? 0 : before[key].get<std::uint64_t>();
  if (producer) {
    std::printf("%5.1f s  %-9s %-8s %4llu frames/s  %6llu published  in %llu slots\n", seconds,
                name.c_str(), "-", static_cast<unsigned long long>(count - earlier),
                static_cast<unsigned long long>(count),
                static_cast<unsigned long long>(now["slots_committed"].get<std::uint64_t>()));
    return;
  }
  std::string lost;
  for (const auto& [cause, n] : now["lost"].items()) {
    if (n.get<std::uint64_t>() != 0) lost += " " + cause + " " + n.dump();
  }
  std::printf("%5.1f s  %-9s %-8s %4llu frames/s  %6llu taken      age %.2f ms (p99 %.2f)  lost%s\n",
              seconds, name.c_str(), now["mode"].get<std::string>().c_str(),
              static_cast<unsigned long long>(count - earlier),
              static_cast<unsigned long long>(count), now["age_p50_ms"].get<double>(),
              now["age_p99_ms"].get<double>(), lost.empty() ? " none" : lost.c_str());
}

// Gathers the reports until every child has ended or the time is up.
std::map<std::string, json> gather(std::vector<Child>& children, const DemoOptions& options) {
  std::map<std::string, json> latest;
  const Clock::time_point begin = Clock::now();
  const auto limit = std::chrono::duration<double>(options.seconds + 20);
  std::size_t open = children.size();
  while (open != 0 && Clock::now() - begin < limit) {
    std::vector<pollfd> polls;
    polls.reserve(children.size());
    for (const Child& child : children) polls.push_back({child.reports.get(), POLLIN, 0});
    if (::poll(polls.data(), polls.size(), 200) < 0 && errno != EINTR) break;
    if (stop_requested != 0) ::kill(children.front().pid, SIGTERM);
    for (std::size_t i = 0; i < children.size(); ++i) {
      if ((polls[i].revents & (POLLIN | POLLHUP)) == 0) continue;
      std::array<char, 2048> text{};
      const ssize_t n = ::recv(children[i].reports.get(), text.data(), text.size(), MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) continue;
      if (n <= 0) {
        children[i].reports.reset();
        --open;
        continue;
      }
      json message = json::parse(text.begin(), text.begin() + n, nullptr, false);
      if (message.is_discarded()) continue;
      json& before = latest[children[i].name];
      if (!message["final"].get<bool>()) {
        const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
        print_line(seconds, children[i].name, message, before);
        std::fflush(stdout);
      }
      before = std::move(message);
    }
  }
  return latest;
}

// Whether a child ended well; kills the one that did not end.
bool ended_well(const Child& child) {
  int status = 0;
  for (int i = 0; i < 200; ++i) {
    const pid_t pid = ::waitpid(child.pid, &status, WNOHANG);
    if (pid == child.pid) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    std::this_thread::sleep_for(milliseconds{10});
  }
  ::kill(child.pid, SIGKILL);
  ::waitpid(child.pid, &status, 0);
  std::fprintf(stderr, "sluice demo: %s did not end and was killed\n", child.name.c_str());
  return false;
}

int summarize(const std::vector<Child>& children, const std::map<std::string, json>& latest,
              const DemoOptions& options) {
  bool good = true;
  for (const Child& child : children) {
    const auto at = latest.find(child.name);
    const bool finished = at != latest.end() && at->second["final"].get<bool>();
    if (!ended_well(child) || !finished) {
      std::fprintf(stderr, "sluice demo: the %s failed\n", child.name.c_str());
      good = false;
    }
  }
  json summary{{"ok", good}};
  if (good) {
    const json& producer = latest.at("producer");
    const auto published = producer["published"].get<std::uint64_t>();
    std::printf("\n%llu frames of %u x %u (NV12) published\n",
                static_cast<unsigned long long>(published), options.width, options.height);
    summary["producer"] = producer;
    good = published > 0;
    for (const Consumer& consumer : kConsumers) {
      const json& r = latest.at(consumer.name);
      const auto taken = r["taken"].get<std::uint64_t>();
      const auto lost = r["lost_total"].get<std::uint64_t>();
      const auto waiting = r["waiting"].get<std::uint64_t>();
      const bool adds_up = taken + lost + waiting == published && taken > 0;
      const bool intact = r["bad"].get<std::uint64_t>() == 0;
      std::printf("  %-9s %-8s %llu taken + %llu lost + %llu waiting %s %llu, %s\n",
                  consumer.name, consumer.mode_name, static_cast<unsigned long long>(taken),
                  static_cast<unsigned long long>(lost),
                  static_cast<unsigned long long>(waiting), adds_up ? "=" : "is NOT",
                  static_cast<unsigned long long>(published),
                  intact ? "every pixel right" : "WRONG PIXELS");
      summary["consumers"][consumer.name] = r;
      good = good && adds_up && intact;
    }
    good = good && latest.at("recorder")["lost_total"].get<std::uint64_t>() == 0;
    summary["ok"] = good;
  }
  std::printf("%s\n", good ? "all frames accounted for" : "FAILED");
  if (options.json) std::printf("%s\n", summary.dump().c_str());
  return good ? 0 : 1;
}

int run_demo(const DemoOptions& options) {
  std::array<SocketPair, kConsumers.size()> pairs;
  std::vector<int> publisher_ends;
  for (SocketPair& pair : pairs) {
    pair = make_pair_of_sockets();
    publisher_ends.push_back(pair.ours.get());
  }
  struct sigaction action {};
  action.sa_handler = request_stop;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  std::printf("one producer, %zu consumers, %u x %u at %g frames/s for %g s\n", kConsumers.size(),
              options.width, options.height, options.rate_hz, options.seconds);
  std::fflush(stdout);

  std::vector<Child> children;
  children.push_back(
      spawn("producer", [&](int reports) { produce(options, publisher_ends, reports); }));
  for (std::size_t i = 0; i < kConsumers.size(); ++i) {
    children.push_back(spawn(kConsumers[i].name, [&, i](int reports) {
      consume(kConsumers[i], pairs[i].theirs.get(), reports);
    }));
  }
  for (SocketPair& pair : pairs) pair = {};
  const auto latest = gather(children, options);
  return summarize(children, latest, options);
}

}  // namespace

void add_demo(CLI::App& app, Run& run) {
  auto options = std::make_shared<DemoOptions>();
  CLI::App* verb = app.add_subcommand(
      "demo", "One producer and three consumer processes exchange frames over one stream");
  verb->group(kRunning);
  verb->add_option("--seconds", options->seconds, "How long")->check(CLI::Range(0.5, 86400.0));
  verb->add_option("--rate", options->rate_hz, "Frames per second")->check(CLI::Range(0.1, 1000.0));
  verb->add_option("--width", options->width, "Pixels, even")->check(CLI::Range(2, 8192));
  verb->add_option("--height", options->height, "Pixels, even")->check(CLI::Range(2, 8192));
  verb->add_flag("--json", options->json, "End with the summary as one JSON object");
  verb->footer("Exit code 0 when every frame is accounted for and every pixel is right.\n\n"
               "Example: sluice demo --seconds 5 --rate 60 --json");
  verb->callback([options, &run] { run = [options] { return run_demo(*options); }; });
}

}  // namespace sluice::tools
