// sluice-capture with a real broker, and cameras, films and photographs that work, change, vanish
// or are no such thing.
#include "pipeline/gstreamer/formats.hpp"
#include "sluice/node.hpp"
#include "sluice/results.hpp"
#include "sluice/tracing.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/talking_program.hpp"

#include <gtest/gtest.h>

#include <gst/app/gstappsink.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

const std::string kSolvay =
    "/usr/share/visp-images-data/ViSP-images/Solvay/Solvay_conference_1927_Version2_2126x1463.jpg";
const std::string kHopper = "/usr/share/matplotlib/mpl-data/sample_data/grace_hopper.jpg";

// Runs a pipeline in the language of gst-launch to its end; false when it fails.
bool launch(const std::string& text) {
  GError* raw = nullptr;
  const gst::Ref<GstElement> made{
      GST_ELEMENT(gst_object_ref_sink(gst_parse_launch(text.c_str(), &raw)))};
  if (raw != nullptr) throw std::runtime_error(raw->message);
  gst_element_set_state(made.get(), GST_STATE_PLAYING);
  const gst::Ref<GstBus> bus{gst_element_get_bus(made.get())};
  const gst::MessageRef message{
      gst_bus_timed_pop_filtered(bus.get(), 30 * GST_SECOND,
                                 static_cast<GstMessageType>(GST_MESSAGE_EOS | GST_MESSAGE_ERROR))};
  gst_element_set_state(made.get(), GST_STATE_NULL);
  return message && GST_MESSAGE_TYPE(message.get()) == GST_MESSAGE_EOS;
}

// What GStreamer alone makes: the frames of videotestsrc, in order.
std::vector<std::vector<std::byte>> test_frames(const std::string& caps, int count) {
  const std::string text = "videotestsrc pattern=ball num-buffers=" + std::to_string(count) +
                           " ! " + caps + " ! appsink name=out sync=false";
  const gst::Ref<GstElement> made{
      GST_ELEMENT(gst_object_ref_sink(gst_parse_launch(text.c_str(), nullptr)))};
  const gst::Ref<GstElement> out{gst_bin_get_by_name(GST_BIN(made.get()), "out")};
  gst_element_set_state(made.get(), GST_STATE_PLAYING);
  std::vector<std::vector<std::byte>> frames;
  while (const gst::SampleRef sample{gst_app_sink_pull_sample(GST_APP_SINK(out.get()))}) {
    GstBuffer* buffer = gst_sample_get_buffer(sample.get());
    frames.emplace_back(gst_buffer_get_size(buffer));
    gst_buffer_extract(buffer, 0, frames.back().data(), frames.back().size());
  }
  gst_element_set_state(made.get(), GST_STATE_NULL);
  return frames;
}

class CaptureTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { gst_init(nullptr, nullptr); }

  CaptureTest() : node_(make_node()) {}

  Node make_node() {
    NodeOptions o;
    o.name = "watcher";
    o.socket = broker_.socket();
    auto made = Node::create(std::move(o));
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  Subscriber subscribe(const SubscriptionOptions& options = {}) {
    auto made = node_.subscribe("camera/front/frames", options);
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  TalkingProgram capture(const std::string& source, std::vector<std::string> more = {}) {
    std::vector<std::string> all{SLUICE_CAPTURE,   "--name",      "front",
                                 "--source",       source,        "--socket",
                                 broker_.socket(), "--log-level", "info"};
    all.insert(all.end(), more.begin(), more.end());
    return TalkingProgram{std::move(all),
                          broker_.folder() + "/capture" + std::to_string(++programs_)};
  }
  std::string file(const std::string& name) const { return broker_.folder() + "/" + name; }

  struct Frame {
    Sample sample;
    FrameView view;
  };
  // The next frame; the test fails when none comes or it is no frame.
  static std::optional<Frame> take(Subscriber& subscriber, std::chrono::seconds patience = 20s) {
    const Deadline until = std::chrono::steady_clock::now() + patience;
    for (;;) {
      if (Sample sample = subscriber.take()) {
        auto view = view_frame(sample);
        EXPECT_TRUE(view) << view.error().message;
        if (!view) return std::nullopt;
        return Frame{std::move(sample), *view};
      }
      if (subscriber.wait(until) == Outcome::timeout) {
        ADD_FAILURE() << "no frame came";
        return std::nullopt;
      }
    }
  }
  std::optional<StreamInfo> stream() {
    if (!monitor_) {
      auto made = node_.monitor("camera/#");
      if (!made) throw std::runtime_error(made.error().message);
      monitor_.emplace(std::move(*made));
    }
    for (const StreamInfo& info : monitor_->snapshot().streams) {
      if (info.topic == "camera/front/frames" && !info.ended) return info;
    }
    return std::nullopt;
  }
  std::optional<Health> health() {
    if (!health_) {
      auto made =
          SubscriberOf<Health>::create(node_, health_topic("capture-front"), {.history = 1});
      if (!made) throw std::runtime_error(made.error().message);
      health_.emplace(std::move(*made));
    }
    while (const auto sample = health_->take()) last_health_ = *sample;
    return last_health_;
  }

  BrokerProcess broker_{SLUICE_SLUICED};
  Node node_;
  std::optional<Monitor> monitor_;
  std::optional<SubscriberOf<Health>> health_;
  std::optional<Health> last_health_;
  int programs_ = 0;
};

class EveryFormat : public CaptureTest, public testing::WithParamInterface<PixelFormat> {};

TEST_P(EveryFormat, ArrivesWithoutACopyAndIsWhatGStreamerMakes) {
  const PixelFormat format = GetParam();
  // 330 is no multiple of what rows are aligned to.
  const std::string caps = std::string("video/x-raw,format=") +
                           gst_video_format_to_string(gst::gst_format(format)) +
                           ",width=330,height=182,framerate=100/1";
  const auto expected = test_frames(caps, 60);
  ASSERT_EQ(expected.size(), 60u);
  Subscriber subscriber = subscribe();
  TalkingProgram program = capture("test://ball", {"--format", gst::name_of(format), "--width",
                                                   "330", "--height", "182", "--rate", "100"});
  std::size_t compared = 0;
  std::uint64_t last = 0;
  std::uint64_t last_origin = 0;
  while (last < 40) {
    auto frame = take(subscriber);
    ASSERT_TRUE(frame);
    const FrameHeader& header = frame->view.header;
    ASSERT_EQ(header.format, format);
    ASSERT_EQ(header.width, 330u);
    ASSERT_EQ(header.height, 182u);
    ASSERT_GT(frame->sample.info().origin_ns, last_origin);
    last_origin = frame->sample.info().origin_ns;
    last = header.number;
    if (last >= expected.size()) break;
    const auto bytes = frame->sample.bytes().subspan(sizeof(FrameHeader));
    const auto& alone = expected[last];
    ASSERT_LE(bytes.size(), alone.size());
    // Of each plane, the pixels: what is between the end of a row and the next is nobody's.
    GstVideoInfo info;
    const gst::CapsRef parsed{gst_caps_from_string(caps.c_str())};
    gst_video_info_from_caps(&info, parsed.get());
    for (std::uint32_t i = 0; i < header.plane_count; ++i) {
      const auto pixels = static_cast<std::size_t>(GST_VIDEO_INFO_COMP_WIDTH(&info, i) *
                                                   GST_VIDEO_INFO_COMP_PSTRIDE(&info, i));
      for (std::uint32_t row = 0; row < header.planes[i].rows; ++row) {
        const std::size_t at = std::size_t{row} * header.planes[i].stride;
        ASSERT_EQ(
            std::memcmp(frame->view.plane(i) + at, alone.data() + info.offset[i] + at, pixels), 0)
            << "frame " << last << " plane " << i << " row " << row;
      }
    }
    ++compared;
  }
  EXPECT_GE(compared, 5u);
  const auto info = stream();
  ASSERT_TRUE(info);
  EXPECT_EQ(info->source.copies, 0u);
  EXPECT_EQ(info->source.fourcc, static_cast<std::uint32_t>(format));
  EXPECT_EQ(info->source.width, 330u);
  EXPECT_EQ(info->source.height, 182u);
  EXPECT_EQ(info->source.expected_interval_ns, 10'000'000u);
  EXPECT_EQ(info->source.gaps, 0u);
  EXPECT_EQ(info->type_name, kFrameType);
  EXPECT_EQ(program.end(SIGTERM), 0) << program.err();
}
INSTANTIATE_TEST_SUITE_P(Native, EveryFormat,
                         testing::Values(PixelFormat::nv12, PixelFormat::i420, PixelFormat::yuyv,
                                         PixelFormat::bgr, PixelFormat::rgb, PixelFormat::grey),
                         [](const auto& test) { return std::string(gst::name_of(test.param)); });

TEST_F(CaptureTest, CompressedPicturesTravelAsTheyAreAndAreCountedAsCopies) {
  Subscriber subscriber = subscribe();
  TalkingProgram program =
      capture("test://smpte", {"--format", "MJPEG", "--width", "320", "--height", "240"});
  for (int i = 0; i < 3; ++i) {
    auto frame = take(subscriber);
    ASSERT_TRUE(frame);
    EXPECT_EQ(frame->view.header.format, PixelFormat::mjpeg);
    EXPECT_EQ(frame->view.header.width, 320u);
    const auto* begin = frame->view.plane(0);
    const auto size = frame->view.header.planes[0].size;
    EXPECT_EQ(begin[0], std::byte{0xff});
    EXPECT_EQ(begin[1], std::byte{0xd8});
    EXPECT_EQ(begin[size - 2], std::byte{0xff});
    EXPECT_EQ(begin[size - 1], std::byte{0xd9});
  }
  ASSERT_TRUE(eventually([&] {
    const auto info = stream();
    return info && info->stats.published > 0 && info->source.copies == info->stats.published;
  }));
  EXPECT_EQ(program.end(SIGINT), 0) << program.err();
}

TEST_F(CaptureTest, TellsItsHealthAndASpanForEachFrame) {
  Subscriber subscriber = subscribe();
  auto spans =
      SubscriberOf<TraceSpan>::create(node_, trace_topic("capture-front"), {.history = 1'000});
  ASSERT_TRUE(spans);
  TalkingProgram program = capture("test://", {"--width", "64", "--height", "48", "--rate", "50"});
  std::map<std::uint64_t, CorrelationId> frames;
  std::map<std::uint64_t, std::uint64_t> origins;
  std::map<std::uint64_t, Reference> names;
  while (frames.size() < 10) {
    auto frame = take(subscriber);
    ASSERT_TRUE(frame);
    frames[frame->sample.info().sequence] = frame->sample.info().correlation;
    origins[frame->sample.info().sequence] = frame->sample.info().origin_ns;
    names[frame->sample.info().sequence] = frame->sample.reference();
  }
  std::size_t found = 0;
  ASSERT_TRUE(eventually([&] {
    while (const auto span = spans->take()) {
      EXPECT_TRUE(valid(*span));
      EXPECT_EQ(text_of(span->stage), "capture-front");
      EXPECT_EQ(text_of(span->topic), "camera/front/frames");
      EXPECT_EQ(span->input_ns, 0u);
      EXPECT_GE(span->output_ns, span->taken_ns);
      EXPECT_GE(span->done_ns, span->output_ns);
      EXPECT_EQ(span->pid, static_cast<std::uint32_t>(program.pid()));
      const std::uint64_t sequence = span->output.sequence;
      if (!frames.contains(sequence)) continue;
      EXPECT_EQ(span->correlation, frames[sequence]);
      EXPECT_EQ(span->origin_ns, origins[sequence]);
      EXPECT_EQ(span->output, names[sequence]);
      ++found;
    }
    return found == frames.size();
  })) << found;
  std::set<std::uint64_t> distinct;
  for (const auto& [sequence, id] : frames) distinct.insert(id.low ^ id.high);
  EXPECT_EQ(distinct.size(), frames.size());
  ASSERT_TRUE(eventually([&] {
    const auto now = health();
    return now && now->status == HealthStatus::healthy && now->published > 10 && now->copies == 0;
  }));
  EXPECT_EQ(text_of(health()->node), "capture-front");
  EXPECT_EQ(program.end(SIGTERM), 0);
  ASSERT_TRUE(eventually([&] { return health()->status == HealthStatus::stopping; }));
}

// How different neighbouring pixels are, a crude sign of a real picture.
double contrast(const FrameView& view) {
  const PlaneLayout& luma = view.header.planes[0];
  double sum = 0;
  double squares = 0;
  std::size_t count = 0;
  for (std::uint32_t y = 0; y < luma.rows; y += 4) {
    for (std::uint32_t x = 0; x < view.header.width; x += 4) {
      const double value = std::to_integer<int>(view.plane(0)[std::size_t{y} * luma.stride + x]);
      sum += value;
      squares += value * value;
      ++count;
    }
  }
  const double mean = sum / static_cast<double>(count);
  return std::sqrt(squares / static_cast<double>(count) - mean * mean);
}

TEST_F(CaptureTest, PhotographsBecomeAMovingPictureWithoutACopy) {
  const std::string folder = file("photos");
  std::filesystem::create_directory(folder);
  std::filesystem::copy(kSolvay, folder + "/a.jpg");
  std::filesystem::copy(kHopper, folder + "/c.jpg");
  std::ofstream{folder + "/b.png"} << "this is no picture";
  std::ofstream{folder + "/notes.txt"} << "left alone";
  Subscriber subscriber = subscribe();
  TalkingProgram program =
      capture("images://" + folder + "?seconds=0.4", {"--width", "640", "--height", "360"});
  std::vector<std::byte> before;
  std::uint64_t origin = 0;
  std::uint64_t number = 0;
  int moved = 0;
  int steps = 0;
  for (int i = 0; i < 30; ++i) {
    auto frame = take(subscriber);
    ASSERT_TRUE(frame);
    EXPECT_EQ(frame->view.header.format, PixelFormat::nv12);
    EXPECT_GT(contrast(frame->view), 15.0);
    const auto bytes = frame->sample.bytes().subspan(sizeof(FrameHeader));
    const std::vector<std::byte> now{bytes.begin(), bytes.end()};
    moved += now != before;
    before = now;
    if (i != 0 && frame->view.header.number == number + 1) {
      ++steps;
      EXPECT_NEAR(static_cast<double>(frame->sample.info().origin_ns - origin), 1e9 / 30, 10);
    }
    origin = frame->sample.info().origin_ns;
    number = frame->view.header.number;
  }
  EXPECT_GE(moved, 25);
  EXPECT_GE(steps, 10);
  EXPECT_EQ(stream()->source.copies, 0u);
  EXPECT_EQ(program.end(), 0);
  EXPECT_NE(program.err().find("b.png"), std::string::npos) << program.err();
}

// The same frames from every run, so that what is found in one can be looked for in another.
TEST_F(CaptureTest, PhotographsAreTheSameEachTime) {
  std::map<std::uint64_t, std::vector<std::byte>> first;
  int same = 0;
  for (int run = 0; run < 2; ++run) {
    Subscriber subscriber = subscribe();
    TalkingProgram program = capture("images://" + kHopper + "?seconds=2&scale=2",
                                     {"--width", "320", "--height", "240", "--format", "GREY"});
    for (int i = 0; i < 20; ++i) {
      auto frame = take(subscriber);
      ASSERT_TRUE(frame);
      const std::vector<std::byte> bytes{frame->sample.bytes().begin() + sizeof(FrameHeader),
                                         frame->sample.bytes().end()};
      const std::uint64_t number = frame->view.header.number;
      if (run == 0) {
        first[number] = bytes;
      } else if (first.contains(number)) {
        EXPECT_EQ(first[number], bytes) << number;
        ++same;
      }
    }
    EXPECT_EQ(program.end(), 0);
  }
  EXPECT_GE(same, 5);
}

TEST_F(CaptureTest, AFilmWhoseSizeChangesGoesOnInTheSameStream) {
  for (const char* size :
       {"width=160,height=120", "width=640,height=480", "width=320,height=240"}) {
    ASSERT_TRUE(launch(
        std::string("videotestsrc pattern=ball num-buffers=30 ! video/x-raw,format=I420,") + size +
        ",framerate=30/1 ! x264enc tune=zerolatency key-int-max=10 ! "
        "video/x-h264,stream-format=byte-stream ! filesink location=" +
        file("part.h264")));
    std::ofstream{file("film.h264"), std::ios::binary | std::ios::app}
        << std::ifstream{file("part.h264"), std::ios::binary}.rdbuf();
  }
  Subscriber subscriber = subscribe();
  TalkingProgram program = capture("file://" + file("film.h264"), {"--loop"});
  std::map<std::uint32_t, int> seen;
  std::uint64_t stream_id = 0;
  while (seen.size() < 3 || seen[160] < 40) {  // it has come round
    auto frame = take(subscriber);
    ASSERT_TRUE(frame);
    const FrameHeader& header = frame->view.header;
    EXPECT_EQ(header.format, PixelFormat::i420);
    EXPECT_EQ(header.height, header.width * 3 / 4);
    ++seen[header.width];
    if (stream_id == 0) stream_id = frame->sample.reference().stream_id;
    ASSERT_EQ(frame->sample.reference().stream_id, stream_id);
  }
  EXPECT_GT(seen[640], 0);
  EXPECT_GT(seen[320], 0);
  EXPECT_EQ(program.end(), 0) << program.err();
}

TEST_F(CaptureTest, AFilmEndsWithItsLastFrame) {
  ASSERT_TRUE(
      launch("videotestsrc num-buffers=20 ! "
             "video/x-raw,format=I420,width=160,height=120,framerate=100/1 ! "
             "jpegenc ! avimux ! filesink location=" +
             file("film.avi")));
  TalkingProgram program = capture("file://" + file("film.avi"));
  EXPECT_EQ(program.wait(), 0) << program.err();
  EXPECT_NE(program.err().find("20 frames published"), std::string::npos) << program.err();
}

TEST_F(CaptureTest, WhoHoldsAllSlotsCostsFramesThatAreCounted) {
  Subscriber subscriber = subscribe({.mode = DeliveryMode::next, .max_held = 16});
  TalkingProgram program =
      capture("test://", {"--width", "64", "--height", "48", "--rate", "200", "--slots", "6"});
  // The last slot goes from hand to hand within microseconds: only who does not sleep gets hold of
  // it.
  std::vector<Sample> held;
  std::uint64_t dropped = 0;
  const auto until_dry = std::chrono::steady_clock::now() + 90s;
  while (dropped < 10 && std::chrono::steady_clock::now() < until_dry) {
    for (int i = 0; i < 20'000; ++i) {
      if (Sample sample = subscriber.take()) held.push_back(std::move(sample));
    }
    if (const auto info = stream()) dropped = info->source.dropped;
  }
  ASSERT_GE(dropped, 10u) << held.size();
  held.clear();
  const std::uint64_t then = stream()->stats.published;
  ASSERT_TRUE(eventually([&] { return stream()->stats.published >= then + 50; }));
  ASSERT_TRUE(eventually([&] {
    const auto now = health();
    return now && now->no_room >= 10;
  }));
  EXPECT_EQ(program.end(), 0);
}

// What a group or a subscriber that never takes anything can do to a camera: nothing.
TEST_F(CaptureTest, NobodyIsWaitedFor) {
  Subscriber lazy = subscribe({.mode = DeliveryMode::next});
  SubscriptionOptions member;
  member.mode = DeliveryMode::group;
  member.group = "workers";
  member.credits = 1;
  Subscriber worker = subscribe(member);
  SubscriptionOptions demanding;
  demanding.mode = DeliveryMode::reliable;
  Subscriber refused = subscribe(demanding);
  TalkingProgram program = capture("test://", {"--width", "64", "--height", "48", "--rate", "200"});
  ASSERT_TRUE(eventually([&] {
    const auto info = stream();
    return info && info->stats.published >= 100 && worker.stream_count() == 1;
  }));
  const auto info = stream();
  EXPECT_EQ(info->source.dropped, 0u);
  EXPECT_EQ(info->stats.full, 0u);
  EXPECT_EQ(refused.stream_count(), 0u);
  EXPECT_EQ(program.end(), 0);
}

TEST_F(CaptureTest, TheBrokerMayComeLateAndGoAndComeBack) {
  Subscriber subscriber = subscribe();
  broker_.kill(SIGKILL);
  TalkingProgram program = capture("test://", {"--width", "64", "--height", "48"});
  ASSERT_TRUE(eventually(
      [&] { return program.err().find("waiting for the broker") != std::string::npos; }));
  broker_.start();
  auto frame = take(subscriber);
  ASSERT_TRUE(frame);
  const std::uint64_t stream_id = frame->sample.reference().stream_id;
  frame.reset();
  broker_.kill(SIGKILL);
  for (int i = 0; i < 20; ++i) {
    auto later = take(subscriber);
    ASSERT_TRUE(later);
    EXPECT_EQ(later->sample.reference().stream_id, stream_id);
  }
  broker_.start();
  Node late = make_node();
  auto newcomer = late.subscribe("camera/front/frames");
  ASSERT_TRUE(newcomer);
  auto seen = take(*newcomer);
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->sample.reference().stream_id, stream_id);
  EXPECT_EQ(program.end(), 0) << program.err();
}

TEST_F(CaptureTest, SignalsEndItWhileItWaitsForTheBrokerOrForACamera) {
  broker_.kill(SIGKILL);
  TalkingProgram without_broker = capture("test://");
  ASSERT_TRUE(eventually(
      [&] { return without_broker.err().find("waiting for the broker") != std::string::npos; }));
  EXPECT_EQ(without_broker.end(SIGTERM), 0);
  broker_.start();
  TalkingProgram without_camera = capture("v4l2:///dev/video_that_is_not_there");
  ASSERT_TRUE(eventually([&] {
    return without_camera.err().find("next attempt") != std::string::npos;
  })) << without_camera.err();
  ASSERT_TRUE(eventually([&] {
    const auto now = health();
    return now && now->status == HealthStatus::degraded &&
           text_of(now->last_error).find("video_that_is_not_there") != std::string_view::npos;
  }));
  EXPECT_EQ(without_camera.end(SIGINT), 0);
}

// --- an IP camera

class RtspTest : public CaptureTest {
 protected:
  TalkingProgram camera(const std::string& port, std::vector<std::string> more = {}) {
    std::vector<std::string> all{SLUICE_PHOTO_CAMERA,
                                 "--source",
                                 "images://" + kHopper + "?seconds=2",
                                 "--port",
                                 port,
                                 "--path",
                                 "/hopper",
                                 "--width",
                                 "320",
                                 "--height",
                                 "240"};
    all.insert(all.end(), more.begin(), more.end());
    TalkingProgram program{std::move(all),
                           broker_.folder() + "/camera" + std::to_string(++programs_)};
    EXPECT_TRUE(eventually([&] { return program.out().find('\n') != std::string::npos; }))
        << program.err();
    return program;
  }
  static std::string url_of(const TalkingProgram& camera) {
    const std::string out = camera.out();
    return out.substr(0, out.find('\n'));
  }
  static std::string port_of(const std::string& url) {
    const std::size_t colon = url.rfind(':');
    return url.substr(colon + 1, url.rfind('/') - colon - 1);
  }
};

TEST_F(RtspTest, ACameraThatDiesAndComesBackGoesOnInTheSameStream) {
  std::optional<TalkingProgram> server{camera("0")};
  const std::string url = url_of(*server);
  ASSERT_TRUE(url.starts_with("rtsp://127.0.0.1:")) << url;
  Subscriber subscriber = subscribe();
  TalkingProgram program = capture(url, {"--stall-seconds", "2", "--retry-ms", "50"});
  auto frame = take(subscriber);
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->view.header.width, 320u);
  EXPECT_GT(contrast(frame->view), 15.0);
  const std::uint64_t stream_id = frame->sample.reference().stream_id;
  frame.reset();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(take(subscriber));
  EXPECT_EQ(stream()->source.reconnects, 0u);

  server->end(SIGKILL);
  ASSERT_TRUE(eventually([&] { return program.err().find("next attempt") != std::string::npos; }))
      << program.err();
  while (subscriber.take()) {
  }
  server.emplace(camera(port_of(url)));
  std::uint64_t last = 0;
  for (int i = 0; i < 10; ++i) {
    auto again = take(subscriber);
    ASSERT_TRUE(again) << program.err();
    EXPECT_EQ(again->sample.reference().stream_id, stream_id);
    EXPECT_GT(again->view.header.number, last);
    last = again->view.header.number;
  }
  EXPECT_TRUE(eventually([&] { return stream()->source.reconnects == 1; }));
  // H.264 predicts from earlier frames: each is copied out of the decoder, once.
  ASSERT_TRUE(eventually([&] {
    const auto info = stream();
    return info->source.copies == info->stats.published;
  }));
  EXPECT_EQ(program.end(), 0) << program.err();
  EXPECT_EQ(server->end(SIGTERM), 0) << server->err();
}

// A camera that hangs: its connections stay, nothing comes.
TEST_F(RtspTest, ACameraThatHangsIsLeftAndTriedAgain) {
  TalkingProgram server = camera("0");
  Subscriber subscriber = subscribe();
  TalkingProgram program = capture(url_of(server), {"--stall-seconds", "0.5", "--retry-ms", "50"});
  ASSERT_TRUE(take(subscriber));
  server.freeze();
  ASSERT_TRUE(eventually([&] { return program.err().find("no frame for") != std::string::npos; }))
      << program.err();
  while (subscriber.take()) {
  }
  server.thaw();
  ASSERT_TRUE(take(subscriber));
  EXPECT_TRUE(eventually([&] { return stream()->source.reconnects >= 1; }));
  EXPECT_EQ(program.end(), 0) << program.err();
}

TEST_F(RtspTest, JpegFromACameraMayStayAsItIsOrBeDecodedIntoSlots) {
  TalkingProgram server = camera("0", {"--codec", "mjpeg"});
  for (const char* format : {"MJPEG", "any"}) {
    Subscriber subscriber = subscribe();
    TalkingProgram program = capture(url_of(server), {"--format", format});
    auto frame = take(subscriber);
    ASSERT_TRUE(frame);
    EXPECT_EQ(frame->view.header.format == PixelFormat::mjpeg, std::string(format) == "MJPEG");
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(take(subscriber));
    if (std::string(format) == "any") {
      EXPECT_EQ(stream()->source.copies, 0u) << "each picture stands for itself: nobody keeps it";
    }
    EXPECT_EQ(program.end(), 0) << program.err();
  }
}

TEST_F(RtspTest, TheCameraSaysWhatIsWrong) {
  TalkingProgram taken = camera("0");
  TalkingProgram second{
      {SLUICE_PHOTO_CAMERA, "--source", "images://" + kHopper, "--port", port_of(url_of(taken))},
      file("second")};
  EXPECT_EQ(second.wait(), 1);
  EXPECT_NE(second.err().find("--port"), std::string::npos) << second.err();
  TalkingProgram missing{{SLUICE_PHOTO_CAMERA, "--source", "images:///not/there"}, file("missing")};
  EXPECT_EQ(missing.wait(), 1);
  EXPECT_NE(missing.err().find("/not/there"), std::string::npos) << missing.err();
  TalkingProgram film{{SLUICE_PHOTO_CAMERA, "--source", "test://"}, file("film")};
  EXPECT_EQ(film.wait(), 2);
}

// --- what cannot be

TEST_F(CaptureTest, SourcesThatCannotBeEndWithASentence) {
  std::ofstream{file("empty.mp4")};
  std::ofstream{file("text.mp4")} << "once upon a time there was a camera\n";
  std::ofstream noise{file("noise.mp4"), std::ios::binary};
  for (std::uint32_t i = 0, x = 1; i < 100'000; ++i)
    noise.put(static_cast<char>((x = x * 1'664'525 + 1'013'904'223) >> 24));
  noise.close();
  ASSERT_TRUE(
      launch("videotestsrc num-buffers=60 ! video/x-raw,format=I420,width=160,height=120 ! x264enc "
             "tune=zerolatency ! mp4mux ! filesink location=" +
             file("whole.mp4")));
  // An MP4 whose index, at its end, is missing.
  std::filesystem::copy(file("whole.mp4"), file("truncated.mp4"));
  std::filesystem::resize_file(file("truncated.mp4"),
                               std::filesystem::file_size(file("whole.mp4")) / 2);
  ASSERT_TRUE(
      launch("audiotestsrc num-buffers=20 ! wavenc ! filesink location=" + file("sound.wav")));
  std::filesystem::create_directory(file("no_pictures"));

  struct Case {
    std::string source;
    std::string words;
    std::vector<std::string> options{};
  };
  const std::vector<Case> cases{
      {"file://" + file("missing.mp4"), "No such file"},
      {"file://" + file("empty.mp4"), "empty"},
      {"file://" + file("text.mp4"), "text.mp4"},
      {"file://" + file("noise.mp4"), "noise.mp4"},
      {"file://" + file("truncated.mp4"), "truncated.mp4"},
      {"file://" + file("sound.wav"), "sound.wav"},
      {"file://" + broker_.folder(), "images://"},
      {"images://" + file("no_pictures"), "no pictures"},
      {"images://" + file("text.mp4"), "none of the files is a picture"},
      {"images:///not/there", "/not/there"},
      {"test://nonsense", "smpte"},
      {"file://" + file("whole.mp4"), "another --format", {"--format", "MJPEG"}},
      {"file://" + kHopper, "leave out --width", {"--format", "MJPEG", "--width", "100"}},
  };
  for (const auto& [source, words, options] : cases) {
    TalkingProgram program = capture(source, options);
    EXPECT_EQ(program.wait(), 1) << source << "\n" << program.err();
    const std::string said = program.err();
    const std::size_t sentence = said.find("sluice-capture: ");
    ASSERT_NE(sentence, std::string::npos) << source << "\n" << said;
    EXPECT_NE(said.find(words, sentence), std::string::npos) << source << "\n" << said;
  }
}

TEST_F(CaptureTest, DamageInTheMiddleOfAFilmIsSurvived) {
  ASSERT_TRUE(launch(
      "videotestsrc pattern=ball num-buffers=90 ! video/x-raw,format=I420,width=320,height=240,"
      "framerate=30/1 ! x264enc tune=zerolatency key-int-max=15 ! mpegtsmux ! filesink location=" +
      file("film.ts")));
  const auto size = static_cast<std::streamoff>(std::filesystem::file_size(file("film.ts")));
  {
    std::fstream film{file("film.ts"), std::ios::in | std::ios::out | std::ios::binary};
    film.seekp(size / 3);
    for (std::streamoff i = 0; i < size / 6; ++i) film.put(static_cast<char>(i * 37));
  }
  std::filesystem::resize_file(file("film.ts"), static_cast<std::uintmax_t>(size - 100));
  TalkingProgram program = capture("file://" + file("film.ts"), {"--no-pace"});
  const int code = program.wait();
  const std::string said = program.err();
  EXPECT_TRUE(code == 0 || code == 1) << code << said;
  const std::size_t at = said.find(" frames published");
  ASSERT_NE(at, std::string::npos) << said;
  const std::size_t begin = said.rfind(' ', at - 1) + 1;
  EXPECT_GE(std::stoi(said.substr(begin, at - begin)), 20) << said;
}

TEST_F(CaptureTest, ASinglePictureCannotBeLooped) {
  TalkingProgram program = capture("file://" + kHopper, {"--loop"});
  EXPECT_EQ(program.wait(), 1);
  EXPECT_NE(program.err().find("motion=none"), std::string::npos) << program.err();
}

TEST_F(CaptureTest, BadUsageIsTwo) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--source", "test://"},
        {"--name", "a", "--source", "http://x"},
        {"--name", "a/b", "--source", "test://"},
        {"--name", "a", "--source", "test://", "--width", "0"},
        {"--name", "a", "--source", "test://", "--height", "40000"},
        {"--name", "a", "--source", "test://", "--format", "H264"},
        {"--name", "a", "--source", "images:///x?scale=0"},
        {"--name", "a", "--source", "test://", "--nonsense"}}) {
    std::vector<std::string> all{SLUICE_CAPTURE};
    all.insert(all.end(), arguments.begin(), arguments.end());
    TalkingProgram program{all, file("usage")};
    EXPECT_EQ(program.wait(), 2) << arguments.back() << program.err();
    EXPECT_FALSE(program.err().empty());
  }
  // Sizes that chroma at half size cannot have.
  TalkingProgram odd =
      capture("test://", {"--width", "321", "--height", "240", "--format", "NV12"});
  EXPECT_EQ(odd.wait(), 1);
  EXPECT_NE(odd.err().find("even"), std::string::npos) << odd.err();
}

}  // namespace
}  // namespace sluice::test
