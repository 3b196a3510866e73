// GStreamer 1.22 (the version of Debian 12): what its users take to share a camera between
// processes.
//
//   camera     appsrc ! shmsink
//   consumer   shmsrc ! appsink
//
// - Frames are allocated by shmsink's own allocator, which it offers in the answer to an allocation
//   query. It then sends them in place; from any other memory it would copy them.
// - shmsrc wraps the shared memory, and appsink hands that out: nothing is copied on this side
//   either. The memory returns to the camera when the consumer lets go of the sample.
// - The elements' defaults, but for: sync and async off (frames go out when they come, as in a live
//   pipeline without a clock to wait for), no last sample kept. shm-size is its default of 64 MiB,
//   ten frames, allocated as they are first used. Nothing is dropped: a camera that finds the
//   memory full waits.
//
// `gstreamer` is how programs do this: appsrc and appsink pass every frame from and to threads of
// the pipeline. `gstreamer-direct` spares these hops, as a camera's source element and a sink
// element with the work in it would: the camera's own thread pushes the frame through to shmsink,
// and the consumer works in appsink's callback, which runs in shmsrc's thread.
#include "tests/bench/cell.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/process.hpp"

#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <gst/gst.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>

namespace sluice::bench {
namespace {

constexpr const char* kCaps = "video/x-raw,format=BGR,width=1920,height=1080,framerate=30/1";
constexpr std::uint64_t kMillisecond = 1'000'000;

/// A pipeline out of gst-launch's syntax, running until it is destroyed.
class Pipeline {
 public:
  explicit Pipeline(const std::string& description) {
    GError* error = nullptr;
    pipeline_ = gst_parse_launch(description.c_str(), &error);
    if (error == nullptr) return;
    const std::string why = error->message;
    g_error_free(error);
    if (pipeline_ != nullptr) gst_object_unref(pipeline_);
    throw std::runtime_error("GStreamer: " + why);
  }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;
  ~Pipeline() {
    gst_element_set_state(pipeline_, GST_STATE_NULL);
    gst_object_unref(pipeline_);
  }

  /// Owned by the caller.
  GstElement* element(const char* name) const {
    return gst_bin_get_by_name(GST_BIN(pipeline_), name);
  }
  bool play() {
    if (gst_element_set_state(pipeline_, GST_STATE_PLAYING) != GST_STATE_CHANGE_FAILURE) {
      return true;
    }
    gst_element_set_state(pipeline_, GST_STATE_NULL);
    return false;
  }
  void require_no_error() const {
    GstBus* const bus = gst_element_get_bus(pipeline_);
    GstMessage* const message =
        gst_bus_pop_filtered(bus, static_cast<GstMessageType>(GST_MESSAGE_ERROR | GST_MESSAGE_EOS));
    gst_object_unref(bus);
    if (message == nullptr) return;
    const std::string why = GST_MESSAGE_TYPE_NAME(message);
    gst_message_unref(message);
    throw std::runtime_error("GStreamer: the pipeline reports " + why);
  }

 private:
  GstElement* pipeline_ = nullptr;
};

class GstSender {
 public:
  GstSender(const Channel& channel, const std::string& socket, bool direct)
      : readers_(channel.readers),
        pipeline_(
            (direct ? "identity name=from silent=true"
                    : "appsrc name=from is-live=true format=time caps=" + std::string(kCaps)) +
            " ! shmsink name=to sync=false async=false enable-last-sample=false socket-path=" +
            socket),
        source_(pipeline_.element("from")),
        sink_(pipeline_.element("to")) {
    g_signal_connect(sink_, "client-connected", G_CALLBACK(on_client), this);
    if (!pipeline_.play()) throw std::runtime_error("GStreamer: shmsink does not start");
    ask_for_allocator();
    if (direct) begin_stream();
  }
  GstSender(const GstSender&) = delete;
  GstSender& operator=(const GstSender&) = delete;
  ~GstSender() {
    if (entry_ != nullptr) gst_object_unref(entry_);
    gst_object_unref(allocator_);
    gst_object_unref(source_);
    gst_object_unref(sink_);
  }

  void connect() {
    while (clients_ < readers_) sleep_until_ns(now_ns() + kMillisecond);
  }

  std::span<std::byte> prepare(std::size_t bytes) {
    while ((memory_ = gst_allocator_alloc(allocator_, bytes, &parameters_)) == nullptr) {
      pipeline_.require_no_error();
      sleep_until_ns(now_ns() + kMillisecond);
    }
    if (gst_memory_map(memory_, &map_, GST_MAP_WRITE) == 0) {
      throw std::runtime_error("GStreamer: a frame cannot be mapped");
    }
    return {reinterpret_cast<std::byte*>(map_.data), map_.size};
  }

  void send() {
    gst_memory_unmap(memory_, &map_);
    GstBuffer* const buffer = gst_buffer_new();
    gst_buffer_append_memory(buffer, memory_);
    const GstFlowReturn flow = entry_ != nullptr
                                   ? gst_pad_chain(entry_, buffer)
                                   : gst_app_src_push_buffer(GST_APP_SRC(source_), buffer);
    if (flow != GST_FLOW_OK) throw std::runtime_error("GStreamer: a frame is refused");
  }

 private:
  static void on_client(GstElement*, gint, gpointer self) {
    ++static_cast<GstSender*>(self)->clients_;
  }

  void ask_for_allocator() {
    GstCaps* const caps = gst_caps_from_string(kCaps);
    GstQuery* const query = gst_query_new_allocation(caps, FALSE);
    GstPad* const pad = gst_element_get_static_pad(sink_, "sink");
    if (gst_pad_query(pad, query) != 0 && gst_query_get_n_allocation_params(query) > 0) {
      gst_query_parse_nth_allocation_param(query, 0, &allocator_, &parameters_);
    }
    gst_object_unref(pad);
    gst_query_unref(query);
    gst_caps_unref(caps);
    if (allocator_ == nullptr) throw std::runtime_error("GStreamer: shmsink offers no allocator");
  }

  /// What a source element tells the others before its first frame.
  void begin_stream() {
    entry_ = gst_element_get_static_pad(source_, "sink");
    GstCaps* const caps = gst_caps_from_string(kCaps);
    GstSegment segment;
    gst_segment_init(&segment, GST_FORMAT_TIME);
    const bool begun = gst_pad_send_event(entry_, gst_event_new_stream_start("camera")) != 0 &&
                       gst_pad_send_event(entry_, gst_event_new_caps(caps)) != 0 &&
                       gst_pad_send_event(entry_, gst_event_new_segment(&segment)) != 0;
    gst_caps_unref(caps);
    if (!begun) throw std::runtime_error("GStreamer: the stream cannot begin");
  }

  std::atomic<unsigned> clients_{0};
  const unsigned readers_;
  Pipeline pipeline_;
  GstElement* const source_;
  GstElement* const sink_;
  GstPad* entry_ = nullptr;  // when direct
  GstAllocator* allocator_ = nullptr;
  GstAllocationParams parameters_{};
  GstMemory* memory_ = nullptr;
  GstMapInfo map_{};
};

class GstReceiver {
 public:
  explicit GstReceiver(const std::string& socket)
      : pipeline_("shmsrc is-live=true socket-path=" + socket + " ! " + kCaps +
                  " ! appsink name=to sync=false async=false enable-last-sample=false"),
        socket_(socket),
        sink_(pipeline_.element("to")) {}
  GstReceiver(const GstReceiver&) = delete;
  GstReceiver& operator=(const GstReceiver&) = delete;
  ~GstReceiver() {
    if (sample_ != nullptr) release();
    gst_object_unref(sink_);
  }

  void connect() {
    while (access(socket_.c_str(), F_OK) != 0 || !pipeline_.play()) {
      sleep_until_ns(now_ns() + 10 * kMillisecond);
    }
  }
  std::span<const std::byte> poll() { return pull(0); }
  std::span<const std::byte> wait() {
    const std::span<const std::byte> message = pull(1'000 * kMillisecond);
    if (message.empty()) pipeline_.require_no_error();
    return message;
  }
  void release() {
    gst_buffer_unmap(buffer_, &map_);
    gst_sample_unref(sample_);
    sample_ = nullptr;
  }

 protected:
  GstAppSink* sink() const { return GST_APP_SINK(sink_); }
  Pipeline& pipeline() { return pipeline_; }

 private:
  std::span<const std::byte> pull(std::uint64_t timeout_ns) {
    sample_ = gst_app_sink_try_pull_sample(GST_APP_SINK(sink_), timeout_ns);
    if (sample_ == nullptr) return {};
    buffer_ = gst_sample_get_buffer(sample_);
    if (gst_buffer_map(buffer_, &map_, GST_MAP_READ) == 0) {
      throw std::runtime_error("GStreamer: a frame cannot be mapped");
    }
    return {reinterpret_cast<const std::byte*>(map_.data), map_.size};
  }

  Pipeline pipeline_;
  const std::string socket_;
  GstElement* const sink_;
  GstSample* sample_ = nullptr;
  GstBuffer* buffer_ = nullptr;
  GstMapInfo map_{};
};

/// Hands messages out in the thread of the pipeline that brings them.
class GstDirectReceiver : public GstReceiver {
 public:
  explicit GstDirectReceiver(const std::string& socket) : GstReceiver(socket) {
    GstAppSinkCallbacks callbacks{};
    callbacks.new_sample = on_sample;
    gst_app_sink_set_callbacks(sink(), &callbacks, this, nullptr);
  }

  void deliver(const Handler& handler) {
    std::unique_lock lock(mutex_);
    handler_ = &handler;
    changed_.notify_all();
    while (!changed_.wait_for(lock, std::chrono::seconds{1}, [this] { return ended_; })) {
      pipeline().require_no_error();
    }
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  static GstFlowReturn on_sample(GstAppSink*, gpointer self) {
    static_cast<GstDirectReceiver*>(self)->take();
    return GST_FLOW_OK;
  }

  void take() {
    const Handler* handler = nullptr;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return handler_ != nullptr; });
      if (ended_) return;
      handler = handler_;
    }
    bool more = false;
    std::exception_ptr failure;
    try {
      const std::span<const std::byte> message = poll();
      if (message.empty()) return;
      more = (*handler)(message);
      release();
    } catch (...) {
      failure = std::current_exception();
    }
    if (more) return;
    const std::lock_guard lock(mutex_);
    failure_ = failure;
    ended_ = true;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  const Handler* handler_ = nullptr;
  bool ended_ = false;
  std::exception_ptr failure_;
};

template <typename R>
class GStreamer {
 public:
  explicit GStreamer(const CellContext& cell) : socket_(cell.directory + "/frames.sock") {
    // The first of all runs looks at every plugin there is. Once, before the roles do.
    const pid_t pid = fork();
    if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid == 0) {
      gst_init(nullptr, nullptr);
      _exit(0);
    }
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  void enter(unsigned) { gst_init(nullptr, nullptr); }
  auto sender(const Channel& channel) {
    return std::make_unique<GstSender>(channel, socket_, Delivering<R>);
  }
  auto receiver(const Channel&, unsigned) { return std::make_unique<R>(socket_); }
  std::vector<pid_t> daemons() { return {}; }

 private:
  const std::string socket_;
};

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  using namespace sluice::bench;
  return cell_main(argc, argv,
                   {{"gstreamer", make_peer<GStreamer<GstReceiver>>()},
                    {"gstreamer-direct", make_peer<GStreamer<GstDirectReceiver>>()}});
}
