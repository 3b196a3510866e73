// A publisher and subscribers whose rate, losses and holds are known, for the tests of the tool.
//
//   known_stream publish TOPIC RATE_HZ [--gaps N] [--frames WxH FORMAT] [--type NAME] [--slots N]
//                        [--max-held N] [--expected HZ] [--node NAME] [--count N] [--readers N]
//       with --readers it begins when so many are attached; after --count it stays, and is silent;
//       with --slots the pool has so many, however many may be held
//   known_stream hold TOPIC COUNT         takes COUNT messages in mode latest, and keeps them
//   known_stream slow TOPIC MS            mode next, works so long on each: the rest is overwritten
//   known_stream results TOPIC            publishes detections for each frame of TOPIC on
//                                         detect/known/objects, and spans on trace/known-detector
//                                         (frames have spans too)
//   known_stream people TOPIC             publishes identities for each of the detections in TOPIC
//                                         on recognize/known/identities, and its health; resolves
//                                         their frames, and takes none
//   known_stream unfit TOPIC              wants what the publisher does not offer
//
// Each runs until SIGTERM and prints "ready" when it is. Frames carry a gradient: the red of a
// pixel grows with x, the green with y, the blue stays (luma alone where the format has no colour).
#include "sluice/correlation.hpp"
#include "sluice/frame.hpp"
#include "sluice/node.hpp"
#include "sluice/results.hpp"
#include "sluice/tracing.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace sluice;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

volatile sig_atomic_t stop = 0;
void request_stop(int) { stop = 1; }

template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "known_stream: %s\n", result.error().message.c_str());
    std::exit(1);
  }
  return std::move(*result);
}

void say_ready() {
  std::puts("ready");
  std::fflush(stdout);
}

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(
      std::chrono::nanoseconds{Clock::now().time_since_epoch()}.count());
}

struct Options {
  std::string node = "known-publisher";
  std::string topic;
  std::string type;
  double rate_hz = 30;
  double expected_hz = 0;
  std::uint64_t gaps = 0;
  std::uint64_t count = 0;
  std::size_t readers = 0;
  std::uint32_t width = 0, height = 0;
  PixelFormat format = PixelFormat::i420;
  std::uint32_t max_held = 8;
  std::uint32_t slots = 0;
};

std::byte byte_of(double value) {
  return static_cast<std::byte>(std::clamp(static_cast<int>(value + 0.5), 0, 255));
}

struct Colour {
  double r, g, b;
};
Colour colour_at(std::uint32_t x, std::uint32_t y, std::uint32_t width, std::uint32_t height) {
  return {255.0 * x / width, 255.0 * y / height, 64.0};
}
// BT.601, limited range, as cameras give it.
double luma(const Colour& c) { return 16 + 0.2568 * c.r + 0.5041 * c.g + 0.0979 * c.b; }
double blue(const Colour& c) { return 128 - 0.1482 * c.r - 0.2910 * c.g + 0.4392 * c.b; }
double red(const Colour& c) { return 128 + 0.4392 * c.r - 0.3678 * c.g - 0.0714 * c.b; }

void draw(std::byte* slot, const FrameHeader& h) {
  const auto at = [&](std::size_t plane, std::uint32_t x, std::uint32_t y) -> std::byte& {
    return slot[h.planes[plane].offset + std::size_t{y} * h.planes[plane].stride + x];
  };
  for (std::uint32_t y = 0; y < h.height; ++y) {
    for (std::uint32_t x = 0; x < h.width; ++x) {
      const Colour c = colour_at(x, y, h.width, h.height);
      const bool corner = x % 2 == 0 && y % 2 == 0;
      switch (h.format) {
        case PixelFormat::grey:
          at(0, x, y) = byte_of(c.r);
          break;
        case PixelFormat::i420:
          at(0, x, y) = byte_of(luma(c));
          if (corner) at(1, x / 2, y / 2) = byte_of(blue(c));
          if (corner) at(2, x / 2, y / 2) = byte_of(red(c));
          break;
        case PixelFormat::nv12:
          at(0, x, y) = byte_of(luma(c));
          if (corner) at(1, x, y / 2) = byte_of(blue(c));
          if (corner) at(1, x + 1, y / 2) = byte_of(red(c));
          break;
        case PixelFormat::yuyv:
          at(0, 2 * x, y) = byte_of(luma(c));
          at(0, 2 * x + 1, y) = byte_of(x % 2 == 0 ? blue(c) : red(c));
          break;
        case PixelFormat::bgr:
        case PixelFormat::rgb: {
          const bool rgb = h.format == PixelFormat::rgb;
          at(0, 3 * x, y) = byte_of(rgb ? c.r : c.b);
          at(0, 3 * x + 1, y) = byte_of(c.g);
          at(0, 3 * x + 2, y) = byte_of(rgb ? c.b : c.r);
          break;
        }
        case PixelFormat::mjpeg:
          break;
      }
    }
  }
}

PixelFormat format_of(const std::string& name) {
  if (name == "GREY") return PixelFormat::grey;
  if (name == "NV12") return PixelFormat::nv12;
  if (name == "YUYV") return PixelFormat::yuyv;
  if (name == "BGR") return PixelFormat::bgr;
  if (name == "RGB") return PixelFormat::rgb;
  return PixelFormat::i420;
}

int publish(const Options& options) {
  Node node = must(Node::create({.name = options.node}));
  StreamOptions stream;
  const bool frames = options.width != 0;
  const std::uint64_t bytes =
      frames ? frame_bytes(options.format, options.width, options.height) : 64;
  stream.pools = {{bytes, options.slots}};
  stream.lanes[0].depth = 4;
  stream.max_held = options.max_held;
  stream.max_loans = 1;
  stream.on_full = OnFull::drop;
  stream.offered.reliable = false;
  stream.type_name = !options.type.empty() ? options.type : frames ? std::string(kFrameType) : "";
  if (!stream.type_name.empty()) stream.type_hash = type_hash_of(stream.type_name);
  Publisher publisher = must(node.advertise(options.topic, stream));
  SourceInfo source;
  const double expected = options.expected_hz != 0 ? options.expected_hz : options.rate_hz;
  source.expected_interval_ns = static_cast<std::uint64_t>(1e9 / expected);
  source.gaps = options.gaps;
  if (frames) {
    source.fourcc = static_cast<std::uint32_t>(options.format);
    source.width = options.width;
    source.height = options.height;
  }
  publisher.describe(source);
  std::optional<PublisherOf<TraceSpan>> trace;
  if (frames) {
    trace.emplace(
        must(PublisherOf<TraceSpan>::create(node, trace_topic(options.node), trace_stream())));
  }
  say_ready();

  while (stop == 0 && publisher.subscriber_count() < options.readers) {
    std::this_thread::sleep_for(5ms);
  }
  const auto period = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(1.0 / options.rate_hz));
  Clock::time_point due = Clock::now();
  for (std::uint64_t number = 1; stop == 0 && (options.count == 0 || number <= options.count);
       ++number) {
    Loan loan = publisher.loan(bytes);
    if (loan) {
      if (frames) {
        FrameHeader* header = lay_out_frame(loan, options.format, options.width, options.height);
        if (header == nullptr) return 1;
        header->number = number;
        header->sensor_ns = now_ns();
        std::strncpy(header->camera.data(), "known", header->camera.size() - 1);
        draw(loan.data(), *header);
      } else {
        const std::string text = "message " + std::to_string(number);
        std::memset(loan.data(), 0, 64);
        std::memcpy(loan.data(), text.data(), text.size());
      }
      loan.headers.correlation = new_correlation_id();
      loan.headers.origin_ns = now_ns() - 5'000'000;
      TraceSpan span;
      span.correlation = loan.headers.correlation;
      span.origin_ns = loan.headers.origin_ns;
      span.taken_ns = span.origin_ns + 4'000'000;
      span.pid = static_cast<std::uint32_t>(::getpid());
      put_text(span.stage, options.node);
      put_text(span.topic, options.topic);
      publisher.publish(std::move(loan));
      span.output_ns = span.done_ns = now_ns();
      if (trace) trace->publish(span);
    }
    due += period;
    std::this_thread::sleep_until(due);
  }
  while (stop == 0) std::this_thread::sleep_for(20ms);
  return 0;
}

int hold(const Options& options, std::size_t count) {
  Node node = must(Node::create({.name = "known-holder"}));
  Subscriber subscriber =
      must(node.subscribe(options.topic, {.mode = DeliveryMode::latest,
                                          .max_held = static_cast<std::uint32_t>(count)}));
  std::vector<Sample> held;
  while (stop == 0 && held.size() < count) {
    if (Sample sample = subscriber.take()) held.push_back(std::move(sample));
    subscriber.wait_for(100ms);
  }
  say_ready();
  while (stop == 0) std::this_thread::sleep_for(20ms);
  return 0;
}

int slow(const Options& options, std::chrono::milliseconds work) {
  Node node = must(Node::create({.name = "known-slow"}));
  Subscriber subscriber =
      must(node.subscribe(options.topic, {.mode = DeliveryMode::next, .max_held = 1}));
  say_ready();
  while (stop == 0) {
    if (const Sample sample = subscriber.take()) std::this_thread::sleep_for(work);
    subscriber.wait_for(100ms);
  }
  return 0;
}

int results(const Options& options) {
  const std::string name = "known-detector";
  Node node = must(Node::create({.name = name}));
  Subscriber frames =
      must(node.subscribe(options.topic, {.mode = DeliveryMode::next, .max_held = 4}));
  Publisher objects = must(node.advertise("detect/known/objects", results_stream(kDetectionsType)));
  StreamOptions spans = trace_stream();
  auto trace = must(PublisherOf<TraceSpan>::create(node, trace_topic(name), spans));
  say_ready();
  while (stop == 0) {
    Sample sample = frames.take();
    if (!sample) {
      frames.wait_for(100ms);
      continue;
    }
    TraceSpan span;
    span.taken_ns = now_ns();
    span.correlation = sample.info().correlation;
    span.origin_ns = sample.info().origin_ns;
    span.input_ns = sample.info().publish_ns;
    span.input = sample.reference();
    span.pid = static_cast<std::uint32_t>(::getpid());
    put_text(span.stage, name);
    put_text(span.topic, options.topic);
    auto view = view_frame(sample);
    if (!view) continue;
    Detections found;
    found.frame = frame_of(sample, *view);
    found.model = "known";
    found.detections.push_back({{10, 20, 30, 40}, 0.5f, "face", {{12, 22}}});
    const auto bytes = must(encode(found));
    Loan loan = objects.loan(bytes.size());
    if (loan) {
      std::memcpy(loan.data(), bytes.data(), bytes.size());
      loan.headers.correlation = span.correlation;
      loan.headers.origin_ns = span.origin_ns;
      loan.attach(std::move(sample));
      objects.publish(std::move(loan));
    }
    span.output_ns = span.done_ns = now_ns();
    trace.publish(span);
  }
  return 0;
}

int people(const Options& options) {
  const std::string name = "known-recognizer";
  Node node = must(Node::create({.name = name}));
  Subscriber objects =
      must(node.subscribe(options.topic, {.mode = DeliveryMode::next, .max_held = 2}));
  Subscriber frames =
      must(node.subscribe("camera/front/frames", {.mode = DeliveryMode::latest, .max_held = 2}));
  Publisher identities =
      must(node.advertise("recognize/known/identities", results_stream(kIdentitiesType)));
  auto report = must(PublisherOf<Health>::create(node, health_topic(name), health_stream()));
  Health health;
  health.status = HealthStatus::degraded;
  health.pid = static_cast<std::uint32_t>(::getpid());
  health.since_ns = now_ns();
  health.handling_p50_ns = 2'000'000;
  health.handling_p99_ns = 3'000'000;
  put_text(health.node, name);
  put_text(health.last_error, "known \x1b[31mtrouble");
  say_ready();
  while (stop == 0) {
    Sample sample = objects.take();
    if (!sample) {
      objects.wait_for(100ms);
      continue;
    }
    const auto found = decode_detections(sample.bytes());
    if (!found) continue;
    (void)frames.resolve(found->frame.reference);
    Identities all;
    all.frame = found->frame;
    all.model = "known";
    all.identities.push_back({{10, 20, 30, 40}, "Marie Curie", 0.25f, 0.75f});
    all.identities.push_back({{50, 20, 30, 40}, std::string(kUnknownName), 0.9f, 0});
    const auto bytes = must(encode(all));
    Loan loan = identities.loan(bytes.size());
    if (loan) {
      std::memcpy(loan.data(), bytes.data(), bytes.size());
      loan.headers.correlation = found->frame.correlation;
      loan.headers.origin_ns = found->frame.origin_ns;
      loan.attach(std::move(sample));
      identities.publish(std::move(loan));
      ++health.published;
    }
    ++health.handled;
    health.failed = 4;
    health.at_ns = now_ns();
    report.publish(health);
  }
  return 0;
}

int unfit(const Options& options) {
  Node node = must(Node::create({.name = "known-unfit"}));
  Subscriber subscriber = must(node.subscribe(options.topic, {.mode = DeliveryMode::reliable}));
  say_ready();
  while (stop == 0) std::this_thread::sleep_for(20ms);
  return 0;
}

int usage() {
  std::fputs("known_stream: see the head of tests/tools/known_stream.cpp\n", stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGTERM, request_stop);
  ::signal(SIGINT, request_stop);
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() < 2) return usage();
  Options options;
  options.topic = words[1];
  if (words[0] == "results") return results(options);
  if (words[0] == "people") return people(options);
  if (words[0] == "unfit") return unfit(options);
  if (words.size() < 3) return usage();
  if (words[0] == "hold") return hold(options, std::stoul(words[2]));
  if (words[0] == "slow") return slow(options, std::chrono::milliseconds{std::stoi(words[2])});
  if (words[0] != "publish") return usage();
  options.rate_hz = std::stod(words[2]);
  for (std::size_t i = 3; i + 1 < words.size(); i += 2) {
    if (words[i] == "--gaps")
      options.gaps = std::stoull(words[i + 1]);
    else if (words[i] == "--type")
      options.type = words[i + 1];
    else if (words[i] == "--node")
      options.node = words[i + 1];
    else if (words[i] == "--count")
      options.count = std::stoull(words[i + 1]);
    else if (words[i] == "--readers")
      options.readers = std::stoull(words[i + 1]);
    else if (words[i] == "--expected")
      options.expected_hz = std::stod(words[i + 1]);
    else if (words[i] == "--slots")
      options.slots = static_cast<std::uint32_t>(std::stoul(words[i + 1]));
    else if (words[i] == "--max-held")
      options.max_held = static_cast<std::uint32_t>(std::stoul(words[i + 1]));
    else if (words[i] == "--frames" && i + 2 < words.size()) {
      if (std::sscanf(words[i + 1].c_str(), "%ux%u", &options.width, &options.height) != 2) {
        return usage();
      }
      options.format = format_of(words[i + 2]);
      ++i;
    } else {
      return usage();
    }
  }
  return publish(options);
}
