// Threads: the store's writer; recording, which also reports; consumers; services, since a question
// about a year must not hold up anybody's acknowledgement. They stop in the reverse of that order,
// the store last: what was taken is written before the program ends.
#include "daemons/recorder/daemon.hpp"

#include "daemons/common/log.hpp"
#include "daemons/recorder/archive.hpp"
#include "daemons/recorder/consumers.hpp"
#include "daemons/recorder/recording.hpp"
#include "daemons/recorder/service.hpp"
#include "sluice/agent.hpp"
#include "sluice/version.hpp"

#include <signal.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::recorder {
namespace {

using namespace std::chrono_literals;

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

bool wait_for_signal(std::chrono::milliseconds patience) {
  const sigset_t set = stop_signals();
  const timespec time{static_cast<time_t>(patience.count() / 1'000),
                      static_cast<long>(patience.count() % 1'000) * 1'000'000};
  return ::sigtimedwait(&set, nullptr, &time) > 0;
}

// The folder of a default path; an administrator's own is his business.
void make_folder(const std::string& path) {
  for (auto slash = path.find('/', 1); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    (void)::mkdir(path.substr(0, slash).c_str(), 0750);
  }
}

// Sentences of the store's thread on their way to `$sys/errors`.
class Reports {
 public:
  void add(const std::string& sentence, bool damage) {
    damage ? daemon::log_error(sentence) : daemon::log_info(sentence);
    if (!damage) return;
    const std::lock_guard lock(mutex_);
    if (waiting_.size() < 100) waiting_.push_back(sentence);
  }
  std::vector<std::string> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(waiting_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> waiting_;
};

// A thread that calls step(deadline) until it is stopped.
class Stepper {
 public:
  Stepper(std::function<void(Deadline)> step, std::function<void()> interrupt)
      : interrupt_(std::move(interrupt)), thread_([this, step = std::move(step)] {
          // sync stop: nothing else is passed on by it
          while (!stop_.load(std::memory_order_relaxed)) {
            step(std::chrono::steady_clock::now() + 500ms);
          }
        }) {}
  Stepper(const Stepper&) = delete;
  Stepper& operator=(const Stepper&) = delete;
  ~Stepper() {
    stop_.store(true, std::memory_order_relaxed);  // sync stop
    interrupt_();
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::function<void()> interrupt_;
  std::thread thread_;
};

Result<std::optional<Node>> connect(const Config& config) {
  NodeOptions options;
  options.name = config.node;
  options.socket = config.socket;
  options.connect_timeout = 1s;
  options.capabilities = {"recorder"};
  options.version = std::to_string(kVersionMajor) + "." + std::to_string(kVersionMinor) + "." +
                    std::to_string(kVersionPatch);
  options.last_words = "the recorder died: durable messages wait at their publishers";
  options.log = [](LogLevel level, std::string_view text) {
    daemon::log(level, std::string(text));
  };
  for (bool told = false;; told = true) {
    auto node = Node::create(options);
    if (node) return std::optional<Node>{std::move(node).value()};
    if (node.error().code != Errc::system) return std::move(node).error();
    if (!told) daemon::log_warning(node.error().message + "; waiting");
    if (wait_for_signal(20ms)) return std::optional<Node>{};
  }
}

// What operators see: health, and errors as they come.
class Voice {
 public:
  static Result<Voice> create(Node& node, Reports& reports, const Store& store,
                              const Recording& recording) {
    AgentOptions options;
    options.figures = [&store, &recording] {
      const StoreCounts counts = store.counts();
      HealthFigures figures;
      figures.received = recording.counts().taken;
      figures.handled = counts.stored + counts.duplicates;
      figures.failed = counts.dropped;
      return figures;
    };
    auto agent = Agent::create(node, std::move(options));
    if (!agent) return std::move(agent).error();
    return Voice{std::move(agent).value(), reports, store};
  }
  void step() {
    for (const std::string& sentence : reports_->take()) agent_.report_error("", sentence);
    agent_.set_problem(store_->counts().trouble);
    (void)agent_.step();
  }

 private:
  Voice(Agent agent, Reports& reports, const Store& store)
      : agent_(std::move(agent)), reports_(&reports), store_(&store) {}
  Agent agent_;
  Reports* reports_;
  const Store* store_;
};

std::string summary(const RecordingCounts& recorded, const StoreCounts& stored) {
  return std::to_string(recorded.taken) + " taken, " + std::to_string(stored.stored) +
         " stored in " + std::to_string(stored.commits) + " commits, " +
         std::to_string(stored.duplicates) + " duplicates, " + std::to_string(stored.dropped) +
         " dropped, " + std::to_string(recorded.lost) + " lost, " +
         std::to_string(recorded.sensitive) + " sensitive, " + std::to_string(recorded.large) +
         " too large, " + std::to_string(recorded.raw) + " without an envelope";
}

}  // namespace

void hold_back_signals() {
  const sigset_t set = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Result<void> run_daemon(const Config& config) {
  StoreOptions store_options = config.store;
  if (store_options.file.path.empty()) {
    store_options.file.path = default_path();
    make_folder(store_options.file.path);
  }
  Reports reports;
  store_options.file.report = [&](const std::string& sentence, bool damage) {
    reports.add(sentence, damage);
  };
  Mailbox mailbox;
  std::atomic<Consumers*> awake{nullptr};
  auto store = Store::create(
      store_options, [&](std::span<const Settled> settled, std::span<Record> records) {
        mailbox.deliver(settled);
        Consumers* consumers = awake.load(std::memory_order_acquire);  // sync awake (reader side)
        if (consumers != nullptr && !records.empty()) consumers->interrupt();
      });
  if (!store) return std::move(store).error();

  auto connected = connect(config);
  if (!connected) return std::move(connected).error();
  if (!*connected) return {};
  Node node = std::move(**connected);
  const Archive archive{store_options.file.path};
  auto recording = Recording::create(node, **store, mailbox, config.recording);
  if (!recording) return std::move(recording).error();
  auto consumers = Consumers::create(node, **store, archive, {config.recording.max_message_bytes});
  if (!consumers) return std::move(consumers).error();
  auto service = Service::create(node, **store, archive, config.recording.max_message_bytes);
  if (!service) return std::move(service).error();
  auto voice = Voice::create(node, reports, **store, **recording);
  if (!voice) return std::move(voice).error();
  awake.store(consumers->get(), std::memory_order_release);  // sync awake (writer side)
  {
    const Stepper record{[&](Deadline until) { (*recording)->step(until); },
                         [&] { (*recording)->interrupt(); }};
    const Stepper consume{[&](Deadline until) { (*consumers)->step(until); },
                          [&] { (*consumers)->interrupt(); }};
    const Stepper serve{[&](Deadline until) { (*service)->step(until); },
                        [&] { (*service)->interrupt(); }};
    daemon::log_info("recording into " + store_options.file.path);
    ::sd_notify(0, "READY=1");
    while (!wait_for_signal(200ms)) voice->step();
    ::sd_notify(0, "STOPPING=1");
  }
  awake.store(nullptr, std::memory_order_release);  // sync awake (writer side)
  // Writes what waits, and acknowledges it.
  (*recording)->finish();
  daemon::log_info(summary((*recording)->counts(), (*store)->counts()));
  mailbox.on_delivery({});
  store->reset();
  return {};
}

}  // namespace sluice::recorder
