// The main thread makes pipelines and watches them: GStreamer's threads bring the frames.
//
//   connect ──> play ──error, end, no frame for `stall`──> a camera: wait (backoff), play again
//                 │                                        a file: end; at its end with --loop:
//                 play again └──SIGTERM──> end
//
// The stream is made when the first frame's size is known and lives as long as the process: a
// camera that comes back goes on in it, and subscribers notice a pause. What GStreamer says is on
// the bus, signals come through a signalfd, and the loop sleeps on both; it looks at the clock once
// a second.
#include "daemons/capture/capture.hpp"

#include "daemons/capture/reports.hpp"
#include "daemons/common/log.hpp"
#include "pipeline/gstreamer/frame_slots.hpp"
#include "shm/clock.hpp"
#include "shm/fd.hpp"
#include "shm/memory.hpp"
#include "sluice/node.hpp"
#include "sluice/results.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace sluice::capture {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using daemon::log_info;
using daemon::log_warning;

constexpr auto kTick = 1s;
// What upstream fills, and what the sink copies into. Elements that want more buffers at once get
// ordinary memory, and a copy; each loan more would let the stream grow older by a frame.
constexpr std::uint32_t kMaxLoans = 3;
// A driver that writes into slots is given all of its buffers in advance.
constexpr std::uint32_t kMaxLoansOfDriver = 10;
constexpr std::uint32_t kPoolsPlanned = 6;
// A camera may be asked for in the middle of its pictures, and be of use from its next key frame
// on.
constexpr std::chrono::milliseconds kFirstFramePatience{10'000};
// What a camera that does not come is called after so many attempts.
constexpr int kAttemptsUntilFailing = 5;

// Why a pipeline was left.
enum class End { stopped, ended, lost };
struct Played {
  End end = End::stopped;
  std::string sentence{};
};

Result<shm::UniqueFd> catch_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT}) ::sigaddset(&set, signal);
  shm::UniqueFd fd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
  if (!fd.valid() || ::pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0) {
    return shm::system_error("signalfd");
  }
  return fd;
}

class Capture {
 public:
  Capture(const CaptureOptions& options, shm::UniqueFd signals)
      : options_(options),
        topic_("camera/" + options.camera + "/frames"),
        signals_(std::move(signals)),
        backoff_(options.backoff) {}
  ~Capture() {
    if (slots_) slots_->close();
  }

  Result<void> run();

 private:
  Result<void> connect();
  Result<void> main_loop();
  Result<Publisher> advertise(std::uint64_t slot_bytes);
  Result<Played> play();
  Played watch(GstElement* pipeline);
  std::optional<Played> handle(GstElement* pipeline, GstMessage* message);
  bool begin_again(GstElement* pipeline);
  void warn(const std::string& sentence);
  void say(HealthStatus status);
  void tick();
  // Whether a signal has come; sleeps until it, until `fd` is readable or for as long as given.
  bool stopped_within(Clock::duration patience, int fd = -1);
  [[nodiscard]] std::uint64_t arrived() const { return slots_->counts().arrived; }
  [[nodiscard]] const gst::SourceUrl& source() const { return options_.pipeline.source; }

  CaptureOptions options_;
  std::string topic_;
  shm::UniqueFd signals_;
  gst::Backoff backoff_;
  std::optional<Node> node_;
  std::unique_ptr<Reports> reports_;
  std::shared_ptr<gst::FrameSlots> slots_;
  std::mutex fatal_mutex_;
  std::optional<Error> fatal_;  // why the stream could not be made
  Clock::time_point next_tick_{};
  std::uint64_t arrived_at_begin_ = 0;  // of this round of a file
  Clock::time_point next_warning_{};
  std::uint64_t warnings_left_out_ = 0;
  int attempts_ = 0;  // in a row that brought no frame
};

bool Capture::stopped_within(Clock::duration patience, int fd) {
  const auto until = Clock::now() + patience;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(
        std::min(until, std::max(next_tick_, Clock::now())) - Clock::now());
    std::array<pollfd, 2> fds{{{signals_.get(), POLLIN, 0}, {fd, POLLIN, 0}}};
    ::poll(fds.data(), fds.size(), static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (fds[0].revents != 0) return true;
    tick();
    if (fds[1].revents != 0 || Clock::now() >= until) return false;
  }
}

void Capture::tick() {
  if (!reports_ || Clock::now() < next_tick_) return;
  next_tick_ = Clock::now() + kTick;
  slots_->tend();
  reports_->publish(slots_->counts());
}

void Capture::say(HealthStatus status) {
  if (reports_->set_status(status)) reports_->publish(slots_->counts());
}

Result<void> Capture::connect() {
  NodeOptions options;
  options.name = "capture-" + options_.camera;
  options.socket = options_.socket;
  options.connect_timeout = 0ms;
  options.log = [](LogLevel level, std::string_view text) {
    daemon::log(level, std::string(text));
  };
  bool said = false;
  for (;;) {
    auto made = Node::create(options);
    if (made) {
      node_.emplace(std::move(*made));
      break;
    }
    if (made.error().code != Errc::system) return std::move(made).error();
    if (!std::exchange(said, true)) log_info("waiting for the broker: " + made.error().message);
    next_tick_ = Clock::now() + 1h;
    if (stopped_within(200ms)) return {};
  }
  auto reports = Reports::create(*node_, topic_);
  if (!reports) return std::move(reports).error();
  reports_ = std::move(*reports);
  next_tick_ = {};
  return {};
}

Result<Publisher> Capture::advertise(std::uint64_t slot_bytes) {
  StreamOptions stream;
  stream.label = options_.camera;
  stream.max_loans = source().io == "userptr" ? kMaxLoansOfDriver : kMaxLoans;
  // A loan reserves its place in the ring.
  stream.lanes = {{.depth = options_.depth + stream.max_loans, .history = 1}};
  stream.pools = {{slot_bytes, options_.slots}};
  stream.max_held = options_.max_held;
  const std::uint32_t planned = options_.depth + 2 * stream.max_loans + options_.max_held;
  stream.max_slots = (options_.slots != 0 ? options_.slots : planned) * kPoolsPlanned;
  stream.on_full = OnFull::drop;
  stream.offered.reliable = false;
  stream.type_hash = type_hash_of(kFrameType);
  stream.type_name = std::string(kFrameType);
  auto made = node_->advertise(topic_, stream);
  if (!made) {
    const std::lock_guard lock{fatal_mutex_};
    // A broker that is away comes back; a right or a limit does not.
    if (made.error().code != Errc::system) fatal_ = made.error();
  }
  return made;
}

Result<void> Capture::run() {
  if (auto connected = connect(); !connected) return connected;
  if (!reports_) return {};  // stopped
  gst::FrameSlots::Options slots;
  slots.camera = options_.camera;
  slots.advertise = [this](std::uint64_t bytes) { return advertise(bytes); };
  slots.on_published = [this](const gst::PublishedFrame& frame) { reports_->trace(frame); };
  slots.slots_per_pool = options_.slots;
  if (options_.pipeline.rate_hz != 0) {
    slots.expected_interval_ns = 1'000'000'000u / options_.pipeline.rate_hz;
  }
  slots_ = std::make_shared<gst::FrameSlots>(std::move(slots));
  auto done = main_loop();
  reports_->set_error(done ? std::string_view{} : std::string_view{done.error().message});
  say(HealthStatus::stopping);
  const auto counts = slots_->counts();
  log_info(options_.camera + ": " + std::to_string(counts.published) + " frames published, " +
           std::to_string(counts.copies) + " of them copied; " + std::to_string(counts.dropped) +
           " dropped, " + std::to_string(counts.failed) + " unusable, " +
           std::to_string(counts.gaps) + " lost by the source");
  return done;
}

Result<void> Capture::main_loop() {
  for (;;) {
    arrived_at_begin_ = arrived();
    auto played = play();
    if (!played) return std::move(played).error();
    if (played->end == End::stopped) return {};
    {
      const std::lock_guard lock{fatal_mutex_};
      if (fatal_) return *fatal_;
    }
    const bool brought_frames = arrived() != arrived_at_begin_;
    if (!source().comes_back()) {
      if (played->end == End::lost) return Error{Errc::untrusted, 0, played->sentence};
      if (!brought_frames) {
        return Error{Errc::untrusted, 0,
                     "the source '" + source().text + "' ended without a single picture"};
      }
      if (!options_.loop) {
        log_info("the source '" + source().text + "' has ended");
        return {};
      }
      // Without time between its frames a picture would come as fast as it can be decoded.
      if (arrived() - arrived_at_begin_ < 2) {
        return Error{Errc::invalid_argument, 0,
                     "the source '" + source().text +
                         "' is a single picture, which cannot be looped; use images://" +
                         source().location + "?motion=none"};
      }
      continue;
    }
    if (brought_frames) {
      attempts_ = 0;
      backoff_.reset();
      slots_->source_lost();
    }
    ++attempts_;
    reports_->set_error(played->sentence);
    say(attempts_ > kAttemptsUntilFailing ? HealthStatus::failing : HealthStatus::degraded);
    const auto wait = backoff_.next();
    log_warning(played->sentence + "; next attempt in " + std::to_string(wait.count()) + " ms");
    if (stopped_within(wait)) return {};
  }
}

// One pipeline, from its making to its end. An error is one that no further attempt could mend.
Result<Played> Capture::play() {
  auto pipeline = gst::build_pipeline(options_.pipeline, slots_);
  if (!pipeline) return std::move(pipeline).error();
  slots_->source_restarted();
  // A failure to start is on the bus as well, with a better sentence.
  gst_element_set_state(pipeline->get(), GST_STATE_PLAYING);
  Played played = watch(pipeline->get());
  gst_element_set_state(pipeline->get(), GST_STATE_NULL);
  return played;
}

Played Capture::watch(GstElement* pipeline) {
  const gst::Ref<GstBus> bus{gst_element_get_bus(pipeline)};
  GPollFD bus_fd{};
  gst_bus_get_pollfd(bus.get(), &bus_fd);
  const auto started = Clock::now();
  const std::uint64_t arrived_at_start = arrived();
  for (;;) {
    while (const gst::MessageRef message{gst_bus_pop(bus.get())}) {
      if (auto played = handle(pipeline, message.get())) return std::move(*played);
    }
    const auto counts = slots_->counts();
    const bool flows = counts.arrived != arrived_at_start;
    const std::chrono::nanoseconds silent =
        flows ? std::chrono::nanoseconds{shm::now_ns() - counts.last_arrival_ns}
              : Clock::now() - started;
    if (flows) {
      reports_->set_error({});
      say(HealthStatus::healthy);
    }
    const std::chrono::nanoseconds allowed = flows || !source().comes_back()
                                                 ? options_.stall
                                                 : std::max(options_.stall, kFirstFramePatience);
    if (silent >= allowed) {
      char seconds[32];
      std::snprintf(seconds, sizeof seconds, "%.1f", std::chrono::duration<double>(silent).count());
      return {End::lost,
              "the source '" + source().text + "' has brought no frame for " + seconds + " s"};
    }
    const auto patience = std::min<std::chrono::nanoseconds>(allowed - silent, kTick);
    if (stopped_within(patience, bus_fd.fd)) return {};
  }
}

std::string sentence_of(const gst::SourceUrl& source, GstMessage* message, const GError* error,
                        std::string_view debug) {
  std::string text = "the source '" + source.text + "': ";
  // GStreamer's own sentence for it is "Internal data stream error".
  if (debug.find("not-negotiated") != std::string_view::npos) {
    text +=
        "it does not bring the format, size or rate that was asked for; leave out --width, "
        "--height, --rate and --format, or give what it has";
  } else {
    text += error->message;
  }
  if (text.ends_with('.')) text.pop_back();
  if (source.io == "userptr" &&
      (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT) ||
       g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS))) {
    text += "; the driver may not be able to write to memory of ours: leave out io=userptr";
  }
  const gst::Text name{GST_MESSAGE_SRC(message) != nullptr
                           ? gst_object_get_name(GST_MESSAGE_SRC(message))
                           : nullptr};
  if (name) text += std::string(" (") + name.get() + ")";
  return text;
}

std::optional<Played> Capture::handle(GstElement* pipeline, GstMessage* message) {
  GError* error = nullptr;
  gchar* debug = nullptr;
  const auto parsed = [&](auto parse) {
    parse(message, &error, &debug);
    const gst::ErrorRef owned_error{error};
    const gst::Text owned_debug{debug};
    if (debug != nullptr) daemon::log_debug(debug);
    return sentence_of(source(), message, error, debug != nullptr ? debug : "");
  };
  switch (GST_MESSAGE_TYPE(message)) {
    case GST_MESSAGE_ERROR:
      return Played{End::lost, parsed(gst_message_parse_error)};
    case GST_MESSAGE_WARNING:
      warn(parsed(gst_message_parse_warning));
      return std::nullopt;
    case GST_MESSAGE_EOS:
      if (begin_again(pipeline)) return std::nullopt;
      return Played{End::ended, "the source '" + source().text + "' has ended"};
    case GST_MESSAGE_LATENCY:
      gst_bin_recalculate_latency(GST_BIN(pipeline));
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

// A damaged stream has much to say: one sentence a second.
void Capture::warn(const std::string& sentence) {
  const auto now = Clock::now();
  if (now < next_warning_) {
    ++warnings_left_out_;
    return;
  }
  next_warning_ = now + kTick;
  const auto left_out = std::exchange(warnings_left_out_, 0);
  log_warning(left_out == 0
                  ? sentence
                  : sentence + " (" + std::to_string(left_out) + " more like this before)");
}

// Files that can be sought in go on from the beginning without a new pipeline.
bool Capture::begin_again(GstElement* pipeline) {
  if (!options_.loop || source().comes_back() || arrived() - arrived_at_begin_ < 2) return false;
  arrived_at_begin_ = arrived();
  return gst_element_seek_simple(
             pipeline, GST_FORMAT_TIME,
             static_cast<GstSeekFlags>(GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_KEY_UNIT), 0) == TRUE;
}

}  // namespace

Result<void> run_capture(const CaptureOptions& options) {
  auto signals = catch_signals();
  if (!signals) return std::move(signals).error();
  // After that: threads that GStreamer starts have the signals blocked too.
  GError* raw = nullptr;
  if (!gst_init_check(nullptr, nullptr, &raw)) {
    const gst::ErrorRef error{raw};
    return Error{Errc::unsupported, 0,
                 std::string("GStreamer does not start: ") +
                     (error ? error->message : "it gives no reason")};
  }
  return Capture{options, std::move(*signals)}.run();
}

}  // namespace sluice::capture
