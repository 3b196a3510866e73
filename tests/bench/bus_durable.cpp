// Messages of 64 B through sluice-recorder: each is confirmed when it has been written and synced.
// Publisher and recorder are two processes, and a broker; all by default.
//
//   many    as fast as room in the stream allows, until all are confirmed
//   single  the next one when the last is confirmed: how long each of them takes
//   paused  the same with pauses, longer than the recorder's between two commits
//   floor   write and fdatasync of 64 B, one after the other, without any of that, half of it
//           before and half of it after the recorder ran
//
// The files lie in a fresh folder beside the programs, since /tmp is memory here; the line below
// the title says on which file system. Verified is what the recorder kept: a durable consumer reads
// it back, every message once and in order.
#include "sluice/durable.hpp"
#include "sluice/message_publisher.hpp"
#include "tests/bench/broker.hpp"
#include "tests/bench/broker_cells.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/message.hpp"
#include "tests/bench/process.hpp"

#include <fcntl.h>
#include <mntent.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

namespace sluice::bench {
namespace {

constexpr const char* kTopic = "bench/durable";
constexpr std::size_t kBytes = 64;
constexpr std::size_t kLeast = 50;  // messages one by one, however short the measurement
constexpr std::uint64_t kWarmUp = 1'000;
constexpr std::uint64_t kPauseNs = 10'000'000;
constexpr std::uint32_t kDepth = 8'192;
constexpr std::uint32_t kReadAhead = 64;
constexpr std::chrono::seconds kPatience{20};

Deadline soon() { return std::chrono::steady_clock::now() + kPatience; }

void fill(std::span<std::byte> message, std::uint64_t number) {
  store_word(message.data(), 0, number);
  store_word(message.data(), 1, 0);
  write_payload(message, number);
}

/// A folder on the disk of the build. What a killed run has left there goes first.
class Disk {
 public:
  Disk() : path_(program_directory() + "/durable") {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directory(path_);
  }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  ~Disk() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

  /// Of the mount that the folder lies in, as the kernel calls it: "ext4".
  std::string file_system() const {
    const std::unique_ptr<FILE, int (*)(FILE*)> mounts(setmntent("/proc/self/mounts", "re"),
                                                       endmntent);
    if (!mounts) throw std::system_error(errno, std::generic_category(), "/proc/self/mounts");
    std::string type = "unknown";
    std::size_t longest = 0;
    while (const mntent* const mount = getmntent(mounts.get())) {
      std::string at = mount->mnt_dir;
      if (at.back() != '/') at += '/';
      if (!path_.starts_with(at) || at.size() < longest) continue;
      longest = at.size();
      type = mount->mnt_type;
    }
    return type;
  }

 private:
  const std::string path_;
};

/// A `sluice-recorder` that dies with the thread that started it, or with this object.
class Recorder {
 public:
  Recorder(const std::string& socket, const std::string& folder) {
    const std::string program = program_directory() + "/sluice-recorder";
    const std::string file = folder + "/recorder.db";
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid_ > 0) return;
    die_with_parent(parent);
    execl(program.c_str(), program.c_str(), "--socket", socket.c_str(), "--file", file.c_str(),
          "--durable", kTopic, "--log-level", "warning", nullptr);
    _exit(127);
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  ~Recorder() { stop_child(pid_); }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

class Writer {
 public:
  explicit Writer(Node& node)
      : publisher_(must(MessagePublisher::create(node, kTopic, options()))) {}

  void connect() {
    for (const std::uint64_t until_ns = now_ns() + ns_of_seconds(20);
         publisher_.stream().acknowledging_count() == 0; sleep_until_ns(now_ns() + 1'000'000)) {
      if (now_ns() > until_ns) throw std::runtime_error("the recorder does not come");
    }
  }
  void publish() {
    fill(message_, ++number_);
    require(publisher_.publish(message_, {}, last_), "publish");
  }
  /// All that was published: the recorder takes it in order.
  void confirm() { require(publisher_.wait_recorded(last_, soon()), "waiting for the disk"); }
  std::uint64_t number() const { return number_; }

 private:
  static MessagePublisherOptions options() {
    MessagePublisherOptions options;
    options.stream = message_stream(kBytes, kDepth);
    options.stream.full_timeout_ns = ns_of_seconds(20);
    return options;
  }
  static void require(Outcome outcome, const char* what) {
    if (outcome != Outcome::ok) {
      throw std::runtime_error(std::string(what) + ": " + to_string(outcome));
    }
  }

  MessagePublisher publisher_;
  std::array<std::byte, kBytes> message_{};
  Published last_;
  std::uint64_t number_ = 0;
};

template <class Operation>
void time_each(std::vector<double>& ms, double seconds, std::size_t least, Operation&& operation,
               std::uint64_t pause_ns = 0) {
  const std::uint64_t end_ns = now_ns() + ns_of_seconds(seconds);
  for (std::size_t i = 0; i < least || now_ns() < end_ns; ++i) {
    if (pause_ns != 0) sleep_until_ns(now_ns() + pause_ns);
    const std::uint64_t from_ns = now_ns();
    operation();
    ms.push_back(static_cast<double>(now_ns() - from_ns) / 1e6);
  }
}

void measure_floor(std::vector<double>& ms, const Disk& disk, double seconds) {
  const std::string path = disk.path() + "/floor";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), path);
  std::array<std::byte, kBytes> message{};
  std::uint64_t number = 0;
  int error = 0;
  time_each(ms, seconds, kLeast / 2, [&] {
    fill(message, ++number);
    if (::write(fd, message.data(), kBytes) != kBytes || ::fdatasync(fd) != 0) error = errno;
  });
  ::close(fd);
  if (error != 0) throw std::system_error(error, std::generic_category(), path);
}

void measure_many(nlohmann::json& result, Writer& writer, const Recorder& recorder,
                  double seconds) {
  const std::uint64_t before = writer.number();
  const std::uint64_t cpu_before_ns = cpu_time_ns(recorder.pid());
  const std::uint64_t from_ns = now_ns();
  while (now_ns() - from_ns < ns_of_seconds(seconds)) writer.publish();
  writer.confirm();
  const auto count = static_cast<double>(writer.number() - before);
  result["many_per_second"] = count * 1e9 / static_cast<double>(now_ns() - from_ns);
  result["recorder_cpu_us"] =
      static_cast<double>(cpu_time_ns(recorder.pid()) - cpu_before_ns) / 1e3 / count;
}

/// By a process that knows nothing of what was published but how much.
void read_back(Node& node, std::uint64_t count) {
  DurableConsumerOptions options;
  options.from_start = true;
  options.max_held = kReadAhead;
  DurableConsumer consumer = must(DurableConsumer::create(node, "reader", kTopic, options));
  for (std::uint64_t next = 1; next <= count; ++next) {
    Message message = consumer.receive(soon());
    if (!message) {
      throw std::runtime_error("verification: message " + std::to_string(next) + " of " +
                               std::to_string(count) + ": " + to_string(message.outcome()));
    }
    const std::span<const std::byte> payload = message.payload();
    if (payload.size() != kBytes || load_word(payload.data(), 0) != next ||
        !payload_intact(payload, next)) {
      throw std::runtime_error("verification: another message in place of " + std::to_string(next));
    }
    consumer.acknowledge(std::move(message));
  }
}

}  // namespace

nlohmann::json measure_durable(const BrokerCell& cell) {
  const Disk disk;
  nlohmann::json result;
  result["note"] = "the files lie on " + disk.file_system();
  std::vector<double> floor_ms;
  std::vector<double> single_ms;
  std::vector<double> paused_ms;
  measure_floor(floor_ms, disk, cell.seconds / 2);
  {
    const Broker broker(cell.directory);
    const Recorder recorder(broker.socket(), disk.path());
    Node node = make_node("writer", broker.socket());
    Writer writer(node);
    writer.connect();
    while (writer.number() < kWarmUp) writer.publish();
    writer.confirm();
    measure_many(result, writer, recorder, cell.seconds);
    const auto one = [&] {
      writer.publish();
      writer.confirm();
    };
    time_each(single_ms, cell.seconds, kLeast, one);
    time_each(paused_ms, cell.seconds, kLeast, one, kPauseNs);
    Node reader = make_node("reader", broker.socket());
    read_back(reader, writer.number());
  }
  measure_floor(floor_ms, disk, cell.seconds / 2);
  add_quantiles(result, "single_ms", std::move(single_ms));
  add_quantiles(result, "paused_ms", std::move(paused_ms));
  add_quantiles(result, "floor_ms", std::move(floor_ms));
  return result;
}

}  // namespace sluice::bench
