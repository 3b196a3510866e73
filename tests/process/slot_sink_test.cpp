// The sink inside of one process, with pipelines that do what decoders and cameras do to buffers:
// bring their own memory, keep what they have handed on, change the format, outlive everything.
#include "pipeline/gstreamer/slot_sink.hpp"

#include "pipeline/gstreamer/slot_memory.hpp"
#include "sluice/node.hpp"
#include "sluice/results.hpp"
#include "tests/support/broker_process.hpp"

#include <gtest/gtest.h>

#include <gst/app/gstappsrc.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;
using gst::BufferRef;
using gst::CapsRef;
using gst::FrameSlots;
using gst::Ref;

class SlotSink : public testing::Test {
 protected:
  static void SetUpTestSuite() { gst_init(nullptr, nullptr); }

  SlotSink() : node_(make_node()) {
    FrameSlots::Options options;
    options.camera = "front";
    options.advertise = [this](std::uint64_t slot_bytes) {
      StreamOptions stream;
      stream.lanes = {{.depth = 6}};
      stream.pools = {{slot_bytes, slots_per_pool_}};
      stream.max_loans = 3;
      stream.max_held = 8;
      stream.max_slots = 200;
      stream.on_full = OnFull::drop;
      stream.offered.reliable = false;
      return node_.advertise("camera/front/frames", stream);
    };
    options.slots_per_pool = 0;
    options.on_published = [this](const gst::PublishedFrame& frame) {
      reference_ = frame.reference;
    };
    slots_ = std::make_shared<FrameSlots>(std::move(options));
  }
  ~SlotSink() override { slots_->close(); }

  Node make_node() {
    NodeOptions o;
    o.name = "capture-front";
    o.socket = broker_.socket();
    auto made = Node::create(std::move(o));
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  Subscriber subscribe(std::uint32_t max_held = 4) {
    auto made = node_.subscribe("camera/front/frames",
                                {.mode = DeliveryMode::next, .max_held = max_held, .history = 0});
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }

  // `front` in the language of gst-launch, its last element linked to the sink.
  Ref<GstElement> pipeline(const std::string& front) {
    GError* raw = nullptr;
    Ref<GstElement> made{GST_ELEMENT(gst_object_ref_sink(
        gst_parse_launch((front + " ! identity name=last silent=true").c_str(), &raw)))};
    if (raw != nullptr) throw std::runtime_error(raw->message);
    GstElement* sink = gst::new_slot_sink(slots_, {.source_counts = true, .exposure_us = {}});
    gst_bin_add(GST_BIN(made.get()), sink);
    const Ref<GstElement> last{gst_bin_get_by_name(GST_BIN(made.get()), "last")};
    gst_element_link(last.get(), sink);
    sink_ = sink;
    return made;
  }
  static void play(const Ref<GstElement>& pipeline) {
    gst_element_set_state(pipeline.get(), GST_STATE_PLAYING);
  }
  static void stop(const Ref<GstElement>& pipeline) {
    gst_element_set_state(pipeline.get(), GST_STATE_NULL);
  }
  // Whether it has come to its end without an error.
  static bool plays_to_its_end(const Ref<GstElement>& pipeline) {
    play(pipeline);
    const Ref<GstBus> bus{gst_element_get_bus(pipeline.get())};
    const gst::MessageRef message{gst_bus_timed_pop_filtered(
        bus.get(), 20 * GST_SECOND,
        static_cast<GstMessageType>(GST_MESSAGE_EOS | GST_MESSAGE_ERROR))};
    if (!message) return false;
    if (GST_MESSAGE_TYPE(message.get()) == GST_MESSAGE_EOS) return true;
    GError* raw = nullptr;
    gst_message_parse_error(message.get(), &raw, nullptr);
    const gst::ErrorRef error{raw};
    ADD_FAILURE() << error->message;
    return false;
  }

  // A source that is fed by hand.
  Ref<GstElement> fed_pipeline(const std::string& rest = "") {
    auto made = pipeline("appsrc name=feed format=time is-live=true" + rest);
    feed_.reset(gst_bin_get_by_name(GST_BIN(made.get()), "feed"));
    play(made);
    return made;
  }
  void feed(const CapsRef& caps, GstBuffer* buffer) {
    const gst::SampleRef sample{gst_sample_new(buffer, caps.get(), nullptr, nullptr)};
    gst_buffer_unref(buffer);
    ASSERT_EQ(gst_app_src_push_sample(GST_APP_SRC(feed_.get()), sample.get()), GST_FLOW_OK);
  }
  bool arrived(std::uint64_t count) {
    return eventually([&] { return slots_->counts().arrived >= count; });
  }

  static std::vector<std::byte> payload(const Sample& sample) {
    return {sample.bytes().begin() + sizeof(FrameHeader), sample.bytes().end()};
  }
  static Sample take(Subscriber& subscriber) {
    const Deadline until = std::chrono::steady_clock::now() + 10s;
    for (;;) {
      if (Sample sample = subscriber.take()) return sample;
      if (subscriber.wait(until) == Outcome::timeout) return Sample{Outcome::timeout};
    }
  }

  BrokerProcess broker_{SLUICE_SLUICED};
  Node node_;
  std::uint32_t slots_per_pool_ = 0;
  std::shared_ptr<FrameSlots> slots_;
  Reference reference_;
  GstElement* sink_ = nullptr;
  Ref<GstElement> feed_;
};

GstBuffer* bytes_buffer(std::size_t size, std::uint8_t first) {
  GstBuffer* buffer = gst_buffer_new_allocate(nullptr, size, nullptr);
  GstMapInfo map;
  gst_buffer_map(buffer, &map, GST_MAP_WRITE);
  std::iota(map.data, map.data + map.size, first);
  gst_buffer_unmap(buffer, &map);
  return buffer;
}

TEST_F(SlotSink, UpstreamWritesIntoSlots) {
  const auto made =
      pipeline("videotestsrc num-buffers=20 ! video/x-raw,format=I420,width=320,height=240");
  ASSERT_TRUE(plays_to_its_end(made));
  const auto counts = slots_->counts();
  EXPECT_EQ(counts.published, 20u);
  EXPECT_EQ(counts.copies, 0u);
  EXPECT_EQ(counts.dropped + counts.failed, 0u);
  stop(made);
}

TEST_F(SlotSink, WhatAConverterMakesIsWrittenIntoSlotsToo) {
  const auto made = pipeline(
      "videotestsrc num-buffers=20 ! video/x-raw,format=AYUV,width=320,height=240 ! "
      "videoconvertscale ! "
      "video/x-raw,format=NV12,width=160,height=120");
  ASSERT_TRUE(plays_to_its_end(made));
  EXPECT_EQ(slots_->counts().published, 20u);
  EXPECT_EQ(slots_->counts().copies, 0u);
  stop(made);
}

// The way of cameras: raw pictures pass decodebin, JPEG is decoded in it; both end up in slots.
TEST_F(SlotSink, DecodebinIsInNobodysWay) {
  for (const char* camera :
       {"videotestsrc num-buffers=20 ! video/x-raw,format=YUY2,width=320,height=240",
        "videotestsrc num-buffers=20 ! video/x-raw,format=I420,width=320,height=240 "
        "! jpegenc"}) {
    const auto before = slots_->counts();
    const auto made = pipeline(std::string(camera) + " ! decodebin ! videoconvertscale");
    ASSERT_TRUE(plays_to_its_end(made)) << camera;
    EXPECT_EQ(slots_->counts().published - before.published, 20u) << camera;
    EXPECT_EQ(slots_->counts().copies - before.copies, 0u) << camera;
    stop(made);
  }
}

TEST_F(SlotSink, ForeignMemoryIsCopiedOnceAndCounted) {
  Subscriber subscriber = subscribe();
  const auto made = fed_pipeline();
  const CapsRef caps = gst::caps_for(PixelFormat::grey, 64, 16, 30);
  feed(caps, bytes_buffer(64 * 16, 0));  // makes the stream
  ASSERT_TRUE(eventually([&] { return subscriber.stream_count() == 1; }));
  for (std::uint8_t i = 1; i <= 3; ++i) {
    feed(caps, bytes_buffer(64 * 16, i));
    Sample sample;
    Result<FrameView> view = Error{};
    do {  // the first may have come as well
      sample = take(subscriber);
      view = view_frame(sample);
      ASSERT_TRUE(view) << view.error().message;
    } while (view->header.number != i);
    EXPECT_EQ(view->header.format, PixelFormat::grey);
    EXPECT_STREQ(view->header.camera.data(), "front");
    std::vector<std::byte> expected(64 * 16);
    for (std::size_t k = 0; k < expected.size(); ++k) expected[k] = static_cast<std::byte>(k + i);
    EXPECT_EQ(payload(sample), expected);
    EXPECT_EQ(sample.info().origin_ns, view->header.sensor_ns);
    EXPECT_NE(sample.info().correlation, CorrelationId{});
    ASSERT_TRUE(eventually([&] { return slots_->counts().published == i + 1u; }));
    EXPECT_EQ(sample.reference(), reference_);
  }
  EXPECT_EQ(slots_->counts().copies, 4u);
  stop(made);
}

TEST_F(SlotSink, PaddedRowsOfForeignMemoryAreNotPartOfThePicture) {
  Subscriber subscriber = subscribe();
  const auto made = fed_pipeline();
  const CapsRef caps = gst::caps_for(PixelFormat::grey, 8, 4, 30);
  const auto padded = [] {
    GstBuffer* buffer = bytes_buffer(32 + 20 * 4, 0);
    gsize offsets[GST_VIDEO_MAX_PLANES] = {32};
    gint strides[GST_VIDEO_MAX_PLANES] = {20};
    gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_GRAY8, 8, 4,
                                   1, offsets, strides);
    return buffer;
  };
  feed(caps, padded());
  ASSERT_TRUE(eventually([&] { return subscriber.stream_count() == 1; }));
  feed(caps, padded());
  const Sample sample = take(subscriber);
  auto view = view_frame(sample);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->header.planes[0].stride, 8u);
  for (std::size_t row = 0; row < 4; ++row) {
    for (std::size_t x = 0; x < 8; ++x) {
      EXPECT_EQ(view->plane(0)[row * 8 + x], static_cast<std::byte>(32 + 20 * row + x));
    }
  }
  stop(made);
}

// As a decoder does that predicts from earlier pictures: holds on to buffers it has handed on, and
// reads them later. They must still say the same then.
struct Keeper {
  std::deque<std::pair<GstBuffer*, std::vector<std::uint8_t>>> kept;
  std::size_t checked = 0;
  std::size_t changed = 0;
  std::size_t slots_seen = 0;
  std::size_t at_most = 3;

  static std::vector<std::uint8_t> contents(GstBuffer* buffer) {
    std::vector<std::uint8_t> bytes(gst_buffer_get_size(buffer));
    gst_buffer_extract(buffer, 0, bytes.data(), bytes.size());
    return bytes;
  }
  void let_go_of_one() {
    auto& [buffer, then] = kept.front();
    ++checked;
    if (contents(buffer) != then) ++changed;
    gst_buffer_unref(buffer);
    kept.pop_front();
  }
  static GstPadProbeReturn keep(GstPad*, GstPadProbeInfo* info, gpointer self) {
    auto& keeper = *static_cast<Keeper*>(self);
    GstBuffer* buffer = GST_PAD_PROBE_INFO_BUFFER(info);
    keeper.slots_seen += gst::is_slot(buffer);
    keeper.kept.emplace_back(gst_buffer_ref(buffer), contents(buffer));
    if (keeper.kept.size() > keeper.at_most) keeper.let_go_of_one();
    return GST_PAD_PROBE_OK;
  }
  void attach(GstElement* sink) {
    const Ref<GstPad> pad{gst_element_get_static_pad(sink, "sink")};
    gst_pad_add_probe(pad.get(), GST_PAD_PROBE_TYPE_BUFFER, keep, this, nullptr);
  }
  ~Keeper() {
    for (auto& [buffer, then] : kept) gst_buffer_unref(buffer);
  }
};

TEST_F(SlotSink, WhatSomebodyUpstreamStillReadsIsNeverPublishedInPlace) {
  Keeper keeper;
  const auto made = pipeline(
      "videotestsrc num-buffers=200 pattern=ball ! video/x-raw,format=GRAY8,width=160,height=120");
  keeper.attach(sink_);
  ASSERT_TRUE(plays_to_its_end(made));
  const auto counts = slots_->counts();
  EXPECT_EQ(counts.published + counts.dropped, 200u);
  EXPECT_EQ(counts.copies, counts.published) << "each was referred to by another";
  EXPECT_GE(keeper.checked, 190u);
  EXPECT_EQ(keeper.changed, 0u) << "a slot was used again while somebody upstream still read it";
  EXPECT_GE(keeper.slots_seen, 1u);
  EXPECT_LE(keeper.slots_seen, 20u) << "the sink stops offering slots to who keeps them";
  stop(made);
}

TEST_F(SlotSink, BuffersMayOutliveThePipelineAndTheStream) {
  Keeper keeper;
  keeper.at_most = 5;
  auto made =
      pipeline("videotestsrc num-buffers=30 ! video/x-raw,format=GRAY8,width=160,height=120");
  keeper.attach(sink_);
  ASSERT_TRUE(plays_to_its_end(made));
  stop(made);
  made.reset();
  slots_->close();
  ASSERT_FALSE(keeper.kept.empty());
  while (!keeper.kept.empty()) keeper.let_go_of_one();
  EXPECT_EQ(keeper.changed, 0u);
}

TEST_F(SlotSink, ASlotOutlivesThePipelineAndTheStream) {
  const auto format = gst::stream_format(gst::caps_for(PixelFormat::grey, 64, 64, 30).get());
  ASSERT_TRUE(format);
  ASSERT_TRUE(slots_->prepare(*format, gst::kFrameHeaderBytes + format->payload_bytes()));
  Outcome why = Outcome::ok;
  BufferRef buffer = gst::new_slot_buffer(slots_, *format, format->payload_bytes(), why);
  ASSERT_TRUE(buffer) << to_string(why);
  EXPECT_TRUE(gst::owns_slot(buffer.get(), *slots_));
  slots_->close();
  gst_buffer_memset(buffer.get(), 0, 7, 64 * 64);  // still there to be written
  EXPECT_EQ(gst::new_slot_buffer(slots_, *format, 64, why), nullptr);
  EXPECT_EQ(why, Outcome::ended);
  std::weak_ptr<FrameSlots> watch = slots_;
  slots_.reset();
  EXPECT_FALSE(watch.expired()) << "the buffer keeps what it lies in";
  buffer.reset();
  EXPECT_TRUE(watch.expired());
  slots_ = std::make_shared<FrameSlots>(FrameSlots::Options{});
}

TEST_F(SlotSink, SharedOrCopiedBuffersDoNotOwnTheirSlot) {
  const auto format = gst::stream_format(gst::caps_for(PixelFormat::grey, 64, 64, 30).get());
  ASSERT_TRUE(slots_->prepare(*format, gst::kFrameHeaderBytes + format->payload_bytes()));
  Outcome why = Outcome::ok;
  BufferRef buffer = gst::new_slot_buffer(slots_, *format, format->payload_bytes(), why);
  ASSERT_TRUE(buffer);
  {
    const BufferRef second{gst_buffer_ref(buffer.get())};
    EXPECT_FALSE(gst::owns_slot(buffer.get(), *slots_));
  }
  {
    const BufferRef sharing{gst_buffer_new()};
    gst_buffer_append_memory(sharing.get(), gst_buffer_get_memory(buffer.get(), 0));
    EXPECT_FALSE(gst::owns_slot(buffer.get(), *slots_));
    EXPECT_FALSE(gst::owns_slot(sharing.get(), *slots_));
  }
  // Copies and parts have memory of their own.
  for (GstBuffer* copy : {gst_buffer_copy(buffer.get()), gst_buffer_copy_deep(buffer.get()),
                          gst_buffer_copy_region(buffer.get(), GST_BUFFER_COPY_ALL, 64, 128)}) {
    const BufferRef owned{copy};
    EXPECT_FALSE(gst::is_slot(copy));
  }
  {
    GstMapInfo map;
    ASSERT_TRUE(gst_buffer_map(buffer.get(), &map, GST_MAP_WRITE));
    EXPECT_FALSE(gst::owns_slot(buffer.get(), *slots_)) << "somebody may be writing";
    gst_buffer_unmap(buffer.get(), &map);
  }
  EXPECT_TRUE(gst::owns_slot(buffer.get(), *slots_));
}

TEST_F(SlotSink, ADecoderThatPredictsCostsOneCopyAFrame) {
  const auto made = pipeline(
      "videotestsrc num-buffers=40 pattern=ball ! video/x-raw,format=I420,width=320,height=240 ! "
      "x264enc "
      "tune=zerolatency key-int-max=20 ! h264parse ! avdec_h264 max-threads=1");
  ASSERT_TRUE(plays_to_its_end(made));
  EXPECT_EQ(slots_->counts().published, 40u);
  EXPECT_EQ(slots_->counts().copies, 40u);
  stop(made);
}

TEST_F(SlotSink, TheFormatMayChangeAndLargerFramesGetLargerSlots) {
  Subscriber subscriber = subscribe();
  const auto made = fed_pipeline();
  struct Size {
    PixelFormat format;
    std::uint32_t width, height;
  };
  std::uint64_t n = 0;
  for (const Size& size : {Size{PixelFormat::grey, 64, 48}, Size{PixelFormat::nv12, 640, 480},
                           Size{PixelFormat::bgr, 33, 17}, Size{PixelFormat::i420, 1280, 720},
                           Size{PixelFormat::yuyv, 64, 48}}) {
    const CapsRef caps = gst::caps_for(size.format, size.width, size.height, 30);
    const auto format = gst::stream_format(caps.get());
    ASSERT_TRUE(format);
    feed(caps, bytes_buffer(format->payload_bytes(), 3));
    ASSERT_TRUE(arrived(++n));
    if (n == 1) {
      ASSERT_TRUE(eventually([&] { return subscriber.stream_count() == 1; }));
    }
    feed(caps, bytes_buffer(format->payload_bytes(), 4));
    ASSERT_TRUE(arrived(++n));
    for (;;) {
      const Sample sample = take(subscriber);
      ASSERT_TRUE(sample) << to_string(sample.outcome());
      auto view = view_frame(sample);
      ASSERT_TRUE(view) << view.error().message;
      if (view->header.number + 1 != n) continue;
      EXPECT_EQ(view->header.format, size.format);
      EXPECT_EQ(view->header.width, size.width);
      EXPECT_EQ(view->header.height, size.height);
      EXPECT_EQ(view->plane(0)[0], std::byte{4});
      break;
    }
  }
  EXPECT_EQ(slots_->counts().published, n);
  stop(made);
}

TEST_F(SlotSink, WhoHoldsEverythingCostsFramesAndNothingElse) {
  slots_per_pool_ = 6;
  Subscriber subscriber = subscribe(8);
  const auto made = pipeline(
      "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=64,height=64,framerate=200/1");
  play(made);
  ASSERT_TRUE(eventually([&] { return subscriber.stream_count() == 1; }));
  // The last slot goes from hand to hand within microseconds: only who does not sleep gets hold of
  // it.
  std::vector<Sample> held;
  const auto until_dry = std::chrono::steady_clock::now() + 30s;
  while (slots_->counts().dropped < 20 && std::chrono::steady_clock::now() < until_dry) {
    for (int i = 0; i < 1'000; ++i) {
      if (Sample sample = subscriber.take()) held.push_back(std::move(sample));
    }
  }
  ASSERT_GE(slots_->counts().dropped, 20u) << held.size();
  EXPECT_GE(held.size(), 4u);
  std::vector<std::byte> first = payload(held.front());
  const std::uint64_t until = slots_->counts().dropped + 20;
  ASSERT_TRUE(eventually([&] { return slots_->counts().dropped >= until; })) << "capture goes on";
  EXPECT_EQ(payload(held.front()), first);
  for (const Sample& sample : held) EXPECT_TRUE(sample.intact());

  held.clear();
  const std::uint64_t published = slots_->counts().published;
  ASSERT_TRUE(eventually([&] { return slots_->counts().published >= published + 20; }));
  // At most what was under way had been given ordinary memory.
  const std::uint64_t copies = slots_->counts().copies;
  ASSERT_TRUE(eventually([&] { return slots_->counts().published >= published + 60; }));
  EXPECT_EQ(slots_->counts().copies, copies);
  const auto counts = slots_->counts();
  stop(made);
  EXPECT_EQ(counts.failed, 0u);
}

TEST_F(SlotSink, WhatIsNoFrameIsCountedAndSaidOnce) {
  const auto made = fed_pipeline();
  const CapsRef caps = gst::caps_for(PixelFormat::grey, 64, 64, 30);
  for (int i = 0; i < 3; ++i) feed(caps, bytes_buffer(100, 0));  // far too short
  feed(caps, bytes_buffer(64 * 64, 0));
  ASSERT_TRUE(eventually([&] { return slots_->counts().published == 1; }));
  EXPECT_EQ(slots_->counts().failed, 3u);
  const Ref<GstBus> bus{gst_element_get_bus(made.get())};
  int said = 0;
  while (gst::MessageRef message{gst_bus_pop_filtered(bus.get(), GST_MESSAGE_WARNING)}) ++said;
  EXPECT_EQ(said, 1);
  stop(made);
}

TEST_F(SlotSink, CompressedPicturesMayBeLargerThanThought) {
  Subscriber subscriber = subscribe();
  const auto made = fed_pipeline();
  const CapsRef caps{gst_caps_from_string("image/jpeg, width=64, height=64, framerate=30/1")};
  const auto jpeg = [](std::size_t size) {
    GstBuffer* buffer = bytes_buffer(size, 0);
    const guint8 begin[] = {0xff, 0xd8, 0xff};
    gst_buffer_fill(buffer, 0, begin, sizeof begin);
    return buffer;
  };
  feed(caps, jpeg(1'000));
  ASSERT_TRUE(eventually([&] { return subscriber.stream_count() == 1; }));
  feed(caps, bytes_buffer(1'000, 1));  // is no JPEG
  feed(caps, jpeg(300'000));
  for (;;) {
    const Sample sample = take(subscriber);
    ASSERT_TRUE(sample);
    auto view = view_frame(sample);
    ASSERT_TRUE(view) << view.error().message;
    if (view->header.planes[0].size < 300'000) continue;
    EXPECT_EQ(view->header.format, PixelFormat::mjpeg);
    EXPECT_EQ(view->plane(0)[299'999], static_cast<std::byte>(299'999 & 0xff));
    break;
  }
  EXPECT_EQ(slots_->counts().failed, 1u);
  stop(made);
}

// Elements are stopped and started while buffers are on their way, with a stream that is short of
// slots.
TEST_F(SlotSink, ChangesOfStateNeverHang) {
  slots_per_pool_ = 4;
  const auto made = pipeline(
      "videotestsrc ! video/x-raw,format=GRAY8,width=64,height=64 ! queue max-size-buffers=50");
  for (int i = 0; i < 30; ++i) {
    play(made);
    if (i % 3 == 0) std::this_thread::sleep_for(2ms);
    if (i % 2 == 0) gst_element_set_state(made.get(), GST_STATE_PAUSED);
    stop(made);
  }
  play(made);
  const std::uint64_t before = slots_->counts().published;
  EXPECT_TRUE(eventually([&] { return slots_->counts().published > before + 50; }));
  stop(made);
}

}  // namespace
}  // namespace sluice::test
