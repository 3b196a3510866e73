// Detection, recognition and annotation as processes of their own, with a real broker and real
// photographs as frames. The test is the camera and, behind them, whoever wants to know.
#include "pipeline/opencv/drawing.hpp"
#include "sluice/correlation.hpp"
#include "sluice/node.hpp"
#include "sluice/opencv.hpp"
#include "sluice/results.hpp"
#include "sluice/tracing.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/must.hpp"
#include "tests/support/photo_frames.hpp"
#include "tests/support/photos.hpp"
#include "tests/support/program.hpp"
#include "tests/support/talking_program.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kPeople = SLUICE_SOURCE_DIR "/examples/pipelines/solvay_people.toml";

class VisionTest : public testing::Test {
 protected:
  VisionTest() : node_(make_node()) {}

  Node make_node() {
    NodeOptions options;
    options.name = "test";
    options.socket = broker_.socket();
    return must(Node::create(options));
  }
  static StreamOptions camera_stream(std::uint64_t bytes) {
    StreamOptions options;
    options.lanes = {{.depth = 16}};
    options.pools = {{bytes}};
    options.max_held = 64;
    options.max_readers = 32;
    options.type_hash = type_hash_of(kFrameType);
    options.type_name = std::string(kFrameType);
    return options;
  }
  static std::vector<std::string> with(std::vector<std::string> arguments,
                                       const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  Program detect(const std::vector<std::string>& more) {
    return Program{SLUICE_DETECT, with({"--socket", broker_.socket(), "--name", "faces", "--camera",
                                        "front", "--log-level", "error"},
                                       more)};
  }
  Program recognize(const std::vector<std::string>& more = {"--people", kPeople}) {
    return Program{SLUICE_RECOGNIZE, with({"--socket", broker_.socket(), "--name", "who",
                                           "--detector", "faces", "--log-level", "error"},
                                          more)};
  }
  Subscriber subscribe(const std::string& filter, SubscriptionOptions options = {}) {
    return must(node_.subscribe(filter, options));
  }
  // Einstein, Curie, Lorentz, Kramers and Dirac, who looks away.
  static cv::Mat some_physicists() {
    return photo(kOtherSolvay, cv::IMREAD_COLOR)(cv::Rect(620, 560, 640, 480)).clone();
  }
  CorrelationId publish(Publisher& camera, PixelFormat format, const cv::Mat& picture,
                        std::uint64_t number) {
    Loan loan = camera.loan(enough_for(picture));
    EXPECT_TRUE(loan) << to_string(loan.outcome());
    if (!loan) return {};
    EXPECT_NE(put_frame(loan, format, picture, number, "front"), nullptr);
    const CorrelationId id = new_correlation_id();
    loan.headers.correlation = id;
    loan.headers.origin_ns = number;
    published_[number].assign(loan.bytes().begin(), loan.bytes().end());
    EXPECT_EQ(camera.publish(std::move(loan)), Outcome::ok);
    return id;
  }
  static Sample take(Subscriber& subscriber, std::chrono::seconds patience = 20s) {
    const Deadline until = std::chrono::steady_clock::now() + patience;
    for (;;) {
      if (Sample sample = subscriber.take()) return sample;
      if (subscriber.wait(until) == Outcome::timeout) return {};
    }
  }
  // The node's health once `done` says so, or the last one.
  template <class Done>
  Health health(const std::string& node, Done done) {
    Subscriber subscriber =
        subscribe(health_topic(node), {.mode = DeliveryMode::latest, .history = 1});
    Health last;
    const Deadline until = std::chrono::steady_clock::now() + 20s;
    while (std::chrono::steady_clock::now() < until) {
      if (const Sample sample = subscriber.take(); sample && sample.size() == sizeof last) {
        std::memcpy(&last, sample.data(), sizeof last);
        if (done(last)) break;
      }
      (void)subscriber.wait_for(100ms);
    }
    return last;
  }

  BrokerProcess broker_{SLUICE_SLUICED};
  Node node_;
  std::map<std::uint64_t, std::vector<std::byte>> published_;  // by frame number
};

TEST_F(VisionTest, EveryIdentityLeadsToTheBytesThatTheCameraPublished) {
  const cv::Mat picture = some_physicists();
  Publisher camera =
      must(node_.advertise("camera/front/frames", camera_stream(enough_for(picture))));
  Program detector = detect({"--mode", "next"});
  Program recognizer = recognize();
  Subscriber identities =
      subscribe("recognize/who/identities", {.type_hash = type_hash_of(kIdentitiesType)});
  Subscriber frames = subscribe("camera/front/frames", {.mode = DeliveryMode::latest});
  ASSERT_TRUE(eventually([&] { return camera.subscriber_count() == 3; }, 20s));

  const std::vector<PixelFormat> formats{PixelFormat::grey, PixelFormat::nv12, PixelFormat::i420,
                                         PixelFormat::bgr, PixelFormat::mjpeg};
  // The recognizer is attached to the detector once it answers.
  ASSERT_TRUE(eventually([&] { return identities.stream_count() == 1; }, 20s));
  std::uint64_t number = 0;
  const std::uint64_t first = number + 1;
  for (const PixelFormat format : formats) {
    SCOPED_TRACE(static_cast<std::uint32_t>(format));
    const CorrelationId id = publish(camera, format, picture, ++number);
    const Sample sample = take(identities);
    ASSERT_TRUE(sample) << "no identities came";
    const Identities result = must(decode_identities(sample.bytes()));
    EXPECT_EQ(sample.info().correlation, id);
    EXPECT_EQ(sample.info().origin_ns, number);
    EXPECT_EQ(result.frame.correlation, id);
    EXPECT_EQ(result.frame.number, number);
    EXPECT_EQ(result.frame.camera, "front");
    EXPECT_EQ(result.model, "lbph");

    ASSERT_EQ(sample.reference_count(), 1u);
    EXPECT_EQ(sample.reference_at(0), result.frame.reference);
    const Sample original = frames.resolve(result.frame.reference);
    ASSERT_TRUE(original) << to_string(original.outcome());
    EXPECT_EQ(original.info().correlation, id);
    ASSERT_EQ(original.size(), published_[number].size());
    EXPECT_EQ(std::memcmp(original.data(), published_[number].data(), original.size()), 0);

    std::set<std::string> names;
    for (const Identity& each : result.identities) {
      const cv::Rect2f box(each.box.x + 620, each.box.y + 560, each.box.width, each.box.height);
      if (each.name == kUnknownName) continue;
      EXPECT_EQ(each.name, who_sits_at(box));
      names.insert(each.name);
    }
    for (const char* name : {"Hendrik Lorentz", "Hans Kramers", "Marie Curie"}) {
      EXPECT_TRUE(names.contains(name)) << name;
    }
  }
  const auto all = [&](const Health& h) { return h.handled + h.failed >= number + 1 - first; };
  for (const char* node : {"detect-faces", "recognize-who"}) {
    const Health h = health(node, all);
    EXPECT_EQ(h.handled, formats.size()) << node;
    EXPECT_EQ(h.failed, 0u) << node << ": " << text_of(h.last_error);
    EXPECT_EQ(h.no_room, 0u) << node;
    EXPECT_EQ(h.published, formats.size()) << node;
    EXPECT_EQ(h.copies, 2u) << node << ": BGR and JPEG only";
  }
  EXPECT_EQ(detector.kill(SIGTERM), 0);
  EXPECT_EQ(recognizer.kill(SIGINT), 0);
}

TEST_F(VisionTest, GarbageIsCountedAndSurvived) {
  const cv::Mat picture = some_physicists();
  Publisher camera =
      must(node_.advertise("camera/front/frames", camera_stream(enough_for(picture))));
  Program detector = detect({"--mode", "next"});
  Subscriber objects = subscribe("detect/faces/objects");
  ASSERT_TRUE(eventually([&] { return camera.subscriber_count() == 1; }, 20s));
  ASSERT_TRUE(eventually([&] { return objects.stream_count() == 1; }, 20s));
  {
    Loan loan = camera.loan(5'000);
    std::memset(loan.data(), 0x5a, 5'000);
    ASSERT_EQ(camera.publish(std::move(loan)), Outcome::ok);
  }
  {  // A frame with a picture of half its bytes.
    Loan loan = camera.loan(enough_for(picture));
    FrameHeader* header = put_frame(loan, PixelFormat::mjpeg, picture, 2, "front");
    std::memset(loan.data() + sizeof(FrameHeader), 0, 64);
    header->planes[0].size /= 2;
    ASSERT_EQ(camera.publish(std::move(loan)), Outcome::ok);
  }
  {  // One that says it is larger than it is.
    Loan loan = camera.loan(enough_for(picture));
    put_frame(loan, PixelFormat::grey, picture, 3, "front")->width *= 2;
    ASSERT_EQ(camera.publish(std::move(loan)), Outcome::ok);
  }
  const CorrelationId id = publish(camera, PixelFormat::grey, picture, 4);
  const Sample sample = take(objects);
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample.info().correlation, id);
  EXPECT_GE(must(decode_detections(sample.bytes())).detections.size(), 3u);
  const Health h =
      health("detect-faces", [](const Health& now) { return now.handled + now.failed == 4; });
  EXPECT_EQ(h.handled, 1u);
  EXPECT_EQ(h.failed, 3u);
  EXPECT_FALSE(text_of(h.last_error).empty());
  EXPECT_EQ(detector.kill(SIGTERM), 0);
}

TEST_F(VisionTest, WorkersOfAGroupShareTheFrames) {
  constexpr std::uint64_t kFrames = 60;
  const cv::Mat picture = some_physicists()(cv::Rect(200, 150, 320, 240)).clone();
  StreamOptions stream = camera_stream(enough_for(picture));
  stream.on_full = OnFull::wait;
  stream.full_timeout_ns = 20'000'000'000;
  Publisher camera = must(node_.advertise("camera/front/frames", stream));
  Subscriber objects = subscribe("detect/faces/objects", {.mode = DeliveryMode::reliable});
  Program one = detect({"--group", "workers", "--node", "detect-faces-1"});
  Program two = detect({"--group", "workers", "--node", "detect-faces-2"});
  ASSERT_TRUE(eventually([&] { return camera.subscriber_count() == 2; }, 20s));
  ASSERT_TRUE(eventually([&] { return objects.stream_count() == 2; }, 20s));
  std::multiset<std::uint64_t> seen;
  std::map<std::uint64_t, std::uint64_t> by_worker;  // stream id
  const auto drain = [&](std::chrono::seconds patience) {
    Sample sample = take(objects, patience);
    if (!sample) return false;
    seen.insert(must(decode_detections(sample.bytes())).frame.number);
    ++by_worker[sample.reference().stream_id];
    objects.acknowledge(std::move(sample));
    return true;
  };
  for (std::uint64_t number = 1; number <= kFrames; ++number) {
    publish(camera, PixelFormat::nv12, picture, number);
    while (seen.size() + 8 < number && drain(20s)) {
    }
  }
  while (seen.size() < kFrames && drain(20s)) {
  }
  EXPECT_FALSE(drain(0s));
  EXPECT_EQ(seen.size(), kFrames);
  EXPECT_EQ(std::set<std::uint64_t>(seen.begin(), seen.end()).size(), kFrames);
  ASSERT_EQ(by_worker.size(), 2u);
  for (const auto& [stream_id, count] : by_worker) EXPECT_GE(count, 1u);
  EXPECT_EQ(one.kill(SIGTERM), 0);
  EXPECT_EQ(two.kill(SIGTERM), 0);
}

TEST_F(VisionTest, OnlyEveryFourthFrameIsLookedAt) {
  const cv::Mat picture = some_physicists()(cv::Rect(200, 150, 320, 240)).clone();
  Publisher camera =
      must(node_.advertise("camera/front/frames", camera_stream(enough_for(picture))));
  Program detector = detect({"--mode", "next", "--every", "4"});
  Subscriber objects = subscribe("detect/faces/objects");
  ASSERT_TRUE(eventually([&] { return camera.subscriber_count() == 1; }, 20s));
  ASSERT_TRUE(eventually([&] { return objects.stream_count() == 1; }, 20s));
  for (std::uint64_t number = 1; number <= 12; ++number) {
    publish(camera, PixelFormat::grey, picture, number);
    if (number % 4 != 0) continue;
    const Sample sample = take(objects);
    ASSERT_TRUE(sample);
    EXPECT_EQ(must(decode_detections(sample.bytes())).frame.number, number);
  }
  const Health h =
      health("detect-faces", [](const Health& now) { return now.handled + now.skipped >= 12; });
  EXPECT_EQ(h.skipped, 9u);
}

TEST_F(VisionTest, AnnotatedFramesAreCopiesWithBoxesAndTheBestIsKept) {
  const cv::Mat picture = some_physicists();
  const std::string file = broker_.folder() + "/best.jpg";
  Publisher camera =
      must(node_.advertise("camera/front/frames", camera_stream(8 * enough_for(picture))));
  Program detector = detect({"--mode", "next"});
  const std::string faces = broker_.folder() + "/faces";
  // Enrolled once, saved, and used by another process.
  ASSERT_EQ(recognize({"--people", kPeople, "--save", faces, "--load", "/nowhere"}).wait(), 1);
  {
    Program enroller = recognize({"--people", kPeople, "--save", faces});
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(faces); }, 20s));
    EXPECT_EQ(enroller.kill(SIGTERM), 0);
  }
  Program recognizer = recognize({"--load", faces});
  Program annotator{SLUICE_ANNOTATE,
                    {"--socket", broker_.socket(), "--name", "shown", "--camera", "front",
                     "--recognizer", "who", "--picture", file, "--log-level", "error"}};
  Subscriber shown = subscribe("annotate/shown/frames", {.type_hash = type_hash_of(kFrameType)});
  Subscriber frames = subscribe("camera/front/frames", {.mode = DeliveryMode::latest});
  ASSERT_TRUE(eventually([&] { return camera.subscriber_count() == 4; }, 20s));
  ASSERT_TRUE(eventually([&] { return shown.stream_count() == 1; }, 20s));

  const auto see = [&](const cv::Mat& what, std::uint64_t number) {
    const CorrelationId id = publish(camera, PixelFormat::i420, what, number);
    Sample sample = take(shown);
    EXPECT_TRUE(sample);
    if (!sample) return cv::Mat{};
    EXPECT_EQ(sample.info().correlation, id);
    const FrameView view = must(view_frame(sample));
    EXPECT_EQ(view.header.number, number);
    EXPECT_STREQ(view.header.camera.data(), "front");
    return must(opencv::mat(view)).clone();
  };
  const cv::Mat first = see(picture, 1);
  ASSERT_EQ(first.size(), picture.size());
  const cv::Mat saved = cv::imread(file);
  ASSERT_EQ(saved.size(), picture.size());
  EXPECT_LT(cv::norm(saved, first, cv::NORM_L1) / static_cast<double>(saved.total()), 15);
  // Green is nowhere in a grey photograph.
  std::vector<cv::Mat> channels;
  cv::split(first, channels);
  EXPECT_GT(cv::countNonZero(channels[1] - channels[2] > 60), 300);

  // Nobody in it: shown, but not better. Larger than the stream was made for: it grows.
  cv::Mat large(1080, 1920, CV_8UC3, cv::Scalar(90, 90, 90));
  EXPECT_EQ(see(large, 2).size(), large.size());
  EXPECT_EQ(cv::imread(file).size(), picture.size());
  const Health h = health("annotate-shown", [](const Health& now) { return now.handled == 2; });
  EXPECT_EQ(h.copies, 2u);
  EXPECT_EQ(h.no_room, 0u);
  EXPECT_EQ(annotator.kill(SIGTERM), 0);
}

TEST_F(VisionTest, ResultsThatLieAboutTheirFramesAreRefused) {
  const cv::Mat picture = some_physicists();
  Publisher camera =
      must(node_.advertise("camera/front/frames", camera_stream(enough_for(picture))));
  Publisher objects =
      must(node_.advertise("detect/faces/objects", results_stream(kDetectionsType)));
  Subscriber identities = subscribe("recognize/who/identities");
  Subscriber frames = subscribe("camera/front/frames", {.max_held = 8});
  Program recognizer = recognize();
  ASSERT_TRUE(eventually(
      [&] { return camera.subscriber_count() == 2 && objects.subscriber_count() == 1; }, 20s));
  ASSERT_TRUE(eventually([&] { return identities.stream_count() == 1; }, 20s));
  publish(camera, PixelFormat::grey, picture, 1);
  Sample frame = take(frames);
  ASSERT_TRUE(frame);
  Detections honest;
  honest.frame = frame_of(frame, must(view_frame(frame)));
  honest.model = "test";
  honest.detections = {{{30, 30, 80, 80}, 1, "face", {}}};
  const auto say = [&](const Detections& what) {
    const auto bytes = must(encode(what));
    Loan loan = objects.loan(bytes.size());
    ASSERT_TRUE(loan);
    std::memcpy(loan.data(), bytes.data(), bytes.size());
    loan.headers.correlation = what.frame.correlation;
    ASSERT_EQ(objects.publish(std::move(loan)), Outcome::ok);
  };
  Detections liar = honest;
  liar.frame.correlation = new_correlation_id();
  say(liar);
  liar = honest;
  liar.frame.reference.stream_id += 1;
  say(liar);
  liar = honest;
  liar.frame.reference.slot = 0xffff;
  say(liar);
  liar = honest;
  liar.frame.reference.sequence += 5;
  say(liar);
  say(honest);
  const Sample answer = take(identities);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer.info().correlation, honest.frame.correlation);
  const Health h =
      health("recognize-who", [](const Health& now) { return now.handled + now.failed == 5; });
  EXPECT_EQ(h.failed, 4u);
  EXPECT_EQ(h.handled, 1u);
}

TEST_F(VisionTest, WrongUseIsToldAndEndsWithTwoWrongFilesWithOne) {
  EXPECT_EQ(Program(SLUICE_DETECT, {"--camera", "front"}).wait(), 2);
  EXPECT_EQ(Program(SLUICE_DETECT, {"--help"}).wait(), 0);
  EXPECT_EQ(detect({"--roi", "1,2"}).wait(), 2);
  EXPECT_EQ(detect({"--scale", "7"}).wait(), 2);
  EXPECT_EQ(detect({"--credits", "2"}).wait(), 2);
  EXPECT_EQ(detect({"--model", "lbph"}).wait(), 2);
  EXPECT_EQ(detect({"--model", "yunet"}).wait(), 1);
  EXPECT_EQ(detect({"--file", "/nowhere.xml"}).wait(), 1);
  EXPECT_EQ(recognize({}).wait(), 2);
  EXPECT_EQ(recognize({"--people", "/nowhere"}).wait(), 1);
  EXPECT_EQ(recognize({"--load", kPeople}).wait(), 1);
}

TEST_F(VisionTest, ABrokerThatIsNotThereIsWaitedFor) {
  const cv::Mat picture = some_physicists();
  broker_.kill(SIGKILL);
  Program patient = detect({});
  TalkingProgram stopped{
      {SLUICE_DETECT, "--socket", broker_.socket(), "--name", "other", "--camera", "front"},
      broker_.folder() + "/stopped"};
  ASSERT_TRUE(eventually([&] { return stopped.err().find("waiting") != std::string::npos; }));
  EXPECT_EQ(stopped.end(SIGTERM), 0);
  broker_.start();
  Publisher camera =
      must(node_.advertise("camera/front/frames", camera_stream(enough_for(picture))));
  EXPECT_TRUE(eventually([&] { return camera.subscriber_count() == 1; }, 20s));
  EXPECT_EQ(patient.kill(SIGTERM), 0);
}

}  // namespace
}  // namespace sluice::test
