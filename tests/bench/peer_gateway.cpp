// What the gateway to iceoryx costs, frame by frame, beside what the same frames cost without it.
//
//   gateway-in    an iceoryx publisher; one reader in iceoryx, one in Sluice behind the gateway
//   gateway-out   a Sluice publisher; one reader in Sluice, one in iceoryx behind the gateway
//
// Publisher, readers, RouDi, sluiced and the gateway are processes of their own; all readers sleep.
// Two parts:
//
//   steady   1080p frames, 30 a second: latency from publish (a stamp in the frame) to taken at
//   both
//            readers, for the same frames; processor time of the gateway
//   flood    frames as fast as the publisher gets memory for them; nobody waits for anybody, so
//            readers lose what they are too slow for
//
// The first 16 bytes of a frame are written and read: who writes and reads pixels pays for that on
// either side. Every frame that arrives must be newer than the last one, and of the right size.
#include "iceoryx_posh/popo/untyped_publisher.hpp"
#include "iceoryx_posh/popo/untyped_subscriber.hpp"
#include "iceoryx_posh/popo/wait_set.hpp"
#include "iceoryx_posh/runtime/posh_runtime.hpp"
#include "tests/bench/broker.hpp"
#include "tests/bench/cell_program.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/crew.hpp"
#include "tests/bench/histogram.hpp"
#include "tests/bench/message.hpp"
#include "tests/bench/process.hpp"
#include "tests/bench/roudi.hpp"

#include <iceoryx_posh/mepoo/chunk_header.hpp>

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <system_error>

namespace sluice::bench {
namespace {

constexpr const char* kTopic = "bench/frame";
constexpr std::uint64_t kPeriodNs = 1'000'000'000 / 30;
constexpr std::uint64_t kWarmUp = 10;
constexpr std::chrono::milliseconds kNap{20};
constexpr std::uint32_t kDepth = 4;
enum Word : std::size_t { kDone };  // the part that the writer has done
enum Value : std::size_t { kP50, kP99, kSteady, kFlood, kNs };

std::uint64_t whole(double value) { return static_cast<std::uint64_t>(value); }

// ---- the ends: each publishes or takes a frame, or says that it cannot now

class SluiceWriter {
 public:
  explicit SluiceWriter(const std::string& socket)
      : node_(make_node("writer", socket)), publisher_(must(node_.advertise(kTopic, options()))) {}
  bool has_readers() { return publisher_.subscriber_count() >= 2; }
  /// False when there is no memory for it.
  bool write(std::uint64_t sequence) {
    Loan loan = publisher_.loan(kFrameBytes);
    if (!loan) return false;
    store_word(loan.data(), 0, sequence);
    store_word(loan.data(), 1, now_ns());
    return publisher_.publish(std::move(loan)) == Outcome::ok;
  }

 private:
  static StreamOptions options() {
    StreamOptions options;
    options.lanes = {{kDepth, 0}};
    options.pools = {{kFrameBytes}};
    options.max_held = 8;
    options.on_full = OnFull::drop;
    return options;
  }
  Node node_;
  Publisher publisher_;
};

class SluiceReader {
 public:
  explicit SluiceReader(const std::string& socket)
      : node_(make_node("reader", socket)), subscriber_(must(node_.subscribe(kTopic, options()))) {}
  bool connected() { return subscriber_.stream_count() != 0; }
  template <class Look>
  void wait(Look&& look) {
    (void)subscriber_.wait_for(kNap);
    while (const Sample sample = subscriber_.take()) look(sample.bytes());
  }

 private:
  static SubscriptionOptions options() {
    SubscriptionOptions options;
    options.max_held = 2;
    return options;
  }
  Node node_;
  Subscriber subscriber_;
};

iox::capro::ServiceDescription service() {
  using iox::capro::IdString_t;
  return {IdString_t("sluice"), IdString_t("bench"), IdString_t("frame")};
}

void begin_iceoryx(const std::string& name) {
  iox::runtime::PoshRuntime::initRuntime(iox::RuntimeName_t(iox::cxx::TruncateToCapacity, name));
}

class IceoryxWriter {
 public:
  explicit IceoryxWriter(const std::string&) {
    begin_iceoryx("bench-writer");
    publisher_.emplace(service());
  }
  bool has_readers() { return publisher_->hasSubscribers(); }
  bool write(std::uint64_t sequence) {
    auto loan = publisher_->loan(kFrameBytes);
    if (loan.has_error()) return false;
    auto* const frame = static_cast<std::byte*>(loan.value());
    store_word(frame, 0, sequence);
    store_word(frame, 1, now_ns());
    publisher_->publish(loan.value());
    return true;
  }

 private:
  std::optional<iox::popo::UntypedPublisher> publisher_;
};

class IceoryxReader {
 public:
  explicit IceoryxReader(const std::string&) {
    begin_iceoryx("bench-reader");
    iox::popo::SubscriberOptions options;
    options.queueCapacity = kDepth;
    subscriber_.emplace(service(), options);
    if (set_.emplace()
            .attachState(*subscriber_, iox::popo::SubscriberState::HAS_DATA)
            .has_error()) {
      throw std::runtime_error("iceoryx: attaching to the WaitSet failed");
    }
  }
  bool connected() {
    return subscriber_->getSubscriptionState() == iox::SubscribeState::SUBSCRIBED;
  }
  template <class Look>
  void wait(Look&& look) {
    (void)set_->timedWait(iox::units::Duration::fromMilliseconds(kNap.count()));
    for (;;) {
      auto taken = subscriber_->take();
      if (taken.has_error()) return;
      const auto* const header = iox::mepoo::ChunkHeader::fromUserPayload(taken.value());
      look(std::span{static_cast<const std::byte*>(taken.value()),
                     static_cast<std::size_t>(header->userPayloadSize())});
      subscriber_->release(taken.value());
    }
  }

 private:
  std::optional<iox::popo::UntypedSubscriber> subscriber_;
  std::optional<iox::popo::WaitSet<1>> set_;
};

// ---- the parts

/// Arguments: socket, frames of the steady part, seconds of the flood.
template <class Writer>
void play_writer(const CrewMember& me) {
  Writer writer(me.arguments.at(0));
  const std::uint64_t frames = kWarmUp + std::stoull(me.arguments.at(1));
  me.await(1);
  while (!writer.has_readers()) sleep_until_ns(now_ns() + 1'000'000);
  me.finish();

  me.await(2);
  std::uint64_t sequence = 0;
  std::uint64_t due_ns = now_ns();
  while (sequence < frames) {
    due_ns += kPeriodNs;
    sleep_until_ns(due_ns);
    if (!writer.write(++sequence)) throw std::runtime_error("no memory for a frame");
  }
  me.board.words[kDone].store(1);
  me.finish();

  me.await(3);
  const std::uint64_t first = sequence;
  const std::uint64_t from_ns = now_ns();
  const std::uint64_t end_ns = from_ns + ns_of_seconds(std::stod(me.arguments.at(2)));
  while (now_ns() < end_ns) {
    if (writer.write(sequence + 1)) ++sequence;
  }
  me.record().values[kNs].store(now_ns() - from_ns);
  me.record().values[kFlood].store(sequence - first);
  me.board.words[kDone].store(2);
  me.finish();
  me.await(4);
  me.finish();
}

/// Arguments: socket.
template <class Reader>
void play_reader(const CrewMember& me) {
  Reader reader(me.arguments.at(0));
  me.await(1);
  while (!reader.connected()) sleep_until_ns(now_ns() + 1'000'000);
  me.finish();
  const auto latency = std::make_unique<Histogram>();
  std::uint64_t previous = 0;
  // Until the writer is done and nothing comes any more.
  const auto take = [&](std::uint64_t part, auto&& count) {
    me.await(static_cast<std::uint32_t>(1 + part));
    for (int quiet = 0; quiet < 10;) {
      bool any = false;
      reader.wait([&](std::span<const std::byte> frame) {
        const std::uint64_t now = now_ns();
        const std::uint64_t sequence = load_word(frame.data(), 0);
        if (frame.size() != kFrameBytes || sequence <= previous) {
          throw std::runtime_error("verification: an old or a wrong frame");
        }
        previous = sequence;
        any = true;
        count(sequence, now - load_word(frame.data(), 1));
      });
      quiet = any || me.board.words[kDone].load() < part ? 0 : quiet + 1;
    }
    me.finish();
  };
  std::uint64_t taken = 0;
  take(1, [&](std::uint64_t sequence, std::uint64_t age_ns) {
    if (sequence <= kWarmUp) return;
    ++taken;
    latency->record(age_ns);
  });
  me.record().values[kP50].store(whole(latency->quantile_ns(0.5)));
  me.record().values[kP99].store(whole(latency->quantile_ns(0.99)));
  me.record().values[kSteady].store(taken);
  taken = 0;
  take(2, [&](std::uint64_t, std::uint64_t) { ++taken; });
  me.record().values[kFlood].store(taken);
  me.await(4);
  me.finish();
}

// ---- the gateway

class Gateway {
 public:
  Gateway(const std::string& directory, const std::string& socket, bool inward) {
    const std::string program = program_directory() + "/sluice-iceoryx";
    const std::string config = directory + "/gateway.toml";
    std::ofstream file(config);
    file << "[[route]]\n"
         << (inward ? "from = \"iceoryx\"\nservice = \"sluice\"\ntopic = \"bench/{event}\"\n"
                      "max_held = 8\ndepth = 4\n"
                    : "from = \"sluice\"\nfilter = \"bench/+\"\nservice = \"sluice\"\n"
                      "instance = \"bench\"\nevent = \"{1}\"\n");
    file.close();
    if (!file || access(program.c_str(), X_OK) != 0) {
      throw std::runtime_error("there is no " + program + ", or no place for its configuration");
    }
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid_ > 0) return;
    die_with_parent(parent);
    execl(program.c_str(), program.c_str(), "--config", config.c_str(), "--socket", socket.c_str(),
          "--log-level", "error", nullptr);
    _exit(127);
  }
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;
  ~Gateway() { stop_child(pid_); }

  /// Of both its processes.
  std::uint64_t cpu_ns() const {
    std::ifstream children("/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) +
                           "/children");
    std::uint64_t sum = cpu_time_ns(pid_);
    for (pid_t child = 0; children >> child;) sum += cpu_time_ns(child);
    return sum;
  }

 private:
  pid_t pid_ = -1;
};

// What the gateway says of its copies; of the other direction it says nothing: one each.
double copies_of(const Monitor& monitor) {
  for (const StreamInfo& stream : monitor.snapshot().streams) {
    if (stream.topic == kTopic && stream.stats.published != 0) {
      return static_cast<double>(stream.source.copies) /
             static_cast<double>(stream.stats.published);
    }
  }
  throw std::runtime_error("the stream is not there");
}

nlohmann::json measure(const CellOptions& options, const std::string& directory) {
  const bool inward = options.workload == "gateway-in";
  const Roudi roudi(directory, {{256, 64}, {kFrameBytes, 32}});
  const Broker broker(directory);
  const Gateway gateway(directory, broker.socket(), inward);
  const auto frames = std::max<std::uint64_t>(30, whole(options.seconds * 30));
  Crew crew;
  const std::vector<std::string> socket{broker.socket()};
  crew.add(inward ? "iceoryx-writer" : "sluice-writer",
           {broker.socket(), std::to_string(frames), std::to_string(options.seconds)});
  const std::size_t direct = crew.add(inward ? "iceoryx-reader" : "sluice-reader", socket);
  const std::size_t behind = crew.add(inward ? "sluice-reader" : "iceoryx-reader", socket);
  crew.step(30);
  Node node = make_node("watcher", broker.socket());
  const Monitor monitor = must(node.monitor(kTopic));
  const std::uint64_t cpu_ns = gateway.cpu_ns();
  crew.step(options.seconds + 30);
  nlohmann::json result;
  result["gateway_cpu_ms"] =
      static_cast<double>(gateway.cpu_ns() - cpu_ns) / 1e6 / static_cast<double>(frames + kWarmUp);
  result["copies"] = inward ? copies_of(monitor) : 1.0;
  const auto value = [&](std::size_t index, Value what) {
    return static_cast<double>(crew.record(index).values[what].load());
  };
  for (const auto& [name, index] : {std::pair{"direct", direct}, std::pair{"gateway", behind}}) {
    result[std::string(name) + "_us_p50"] = value(index, kP50) / 1e3;
    result[std::string(name) + "_us_p99"] = value(index, kP99) / 1e3;
    result[std::string(name) + "_share"] = value(index, kSteady) / static_cast<double>(frames);
  }
  crew.step(options.seconds + 30);
  const double seconds = value(0, kNs) / 1e9;
  result["flood_sent_per_second"] = value(0, kFlood) / seconds;
  result["flood_direct_per_second"] = value(direct, kFlood) / seconds;
  result["flood_gateway_per_second"] = value(behind, kFlood) / seconds;
  crew.step(5);
  crew.join(10);
  return result;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  using namespace sluice::bench;
  const CrewParts parts{
      {"iceoryx-writer", play_writer<IceoryxWriter>},
      {"iceoryx-reader", play_reader<IceoryxReader>},
      {"sluice-writer", play_writer<SluiceWriter>},
      {"sluice-reader", play_reader<SluiceReader>},
  };
  if (int exit_code = 0; play_part(argc, argv, parts, exit_code)) return exit_code;
  return cell_program(
      argc, argv, [](const CellOptions& options, const Workload&, const std::string& directory) {
        return measure(options, directory);
      });
}
