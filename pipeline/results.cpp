// Results as FlatBuffers, see results.fbs.
//
// What arrives is another process's, and lies where that process can still write. So it is copied
// first and verified then: nothing that was checked can change before it is used. A buffer may name
// one table many times; the limits on results and landmarks keep what is copied out of it within
// some MiB, whatever its size promises.
#include "sluice/results.hpp"

#include "pipeline/results_generated.h"
#include "pipeline/text.hpp"
#include "sluice/tracing.hpp"

#include <flatbuffers/flatbuffers.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

namespace sluice {
namespace {

namespace fb = flatbuffers;

constexpr std::size_t kMaxResults = 4'096;
constexpr std::size_t kMaxLandmarks = 512;
constexpr std::size_t kMaxText = 255;
constexpr std::uint32_t kTablesBesideResults = 3;  // message, frame, body
constexpr std::uint32_t kMaxNesting = 8;

// --- what may be in a result, on both ways: nothing, or what is wrong with it --------------------

using Wrong = std::optional<std::string>;

Wrong check_text(const std::string& text, const char* what) {
  if (text.size() > kMaxText) {
    return std::string{what} + " of " + std::to_string(text.size()) + " bytes; at most " +
           std::to_string(kMaxText) + " are allowed";
  }
  if (!pipeline::is_utf8(text)) return std::string{what} + " that is not UTF-8";
  return std::nullopt;
}

Wrong check_numbers(std::initializer_list<float> numbers, const char* what) {
  for (const float number : numbers) {
    if (!std::isfinite(number)) return std::string{what} + " with a number that is not finite";
  }
  return std::nullopt;
}

Wrong check_count(std::size_t count, std::size_t most, const char* what) {
  if (count <= most) return std::nullopt;
  return std::to_string(count) + " " + what + "; at most " + std::to_string(most) + " are allowed";
}

Wrong check(const Detection& d) {
  const Box& b = d.box;
  if (Wrong wrong = check_numbers({b.x, b.y, b.width, b.height, d.score}, "a detection")) {
    return wrong;
  }
  if (Wrong wrong = check_count(d.landmarks.size(), kMaxLandmarks, "landmarks of a detection")) {
    return wrong;
  }
  for (const Point& point : d.landmarks) {
    if (Wrong wrong = check_numbers({point.x, point.y}, "a landmark")) return wrong;
  }
  return check_text(d.label, "a label");
}

Wrong check(const Identity& i) {
  const Box& b = i.box;
  if (Wrong wrong =
          check_numbers({b.x, b.y, b.width, b.height, i.distance, i.confidence}, "an identity")) {
    return wrong;
  }
  return check_text(i.name, "a name");
}

template <class T>
Wrong check_all(const FrameOf& frame, const std::string& model, const std::vector<T>& results) {
  if (Wrong wrong = check_text(frame.camera, "a camera's name")) return wrong;
  if (Wrong wrong = check_text(model, "a model's name")) return wrong;
  if (Wrong wrong = check_count(results.size(), kMaxResults, "results in one message")) {
    return wrong;
  }
  for (const T& result : results) {
    if (Wrong wrong = check(result)) return wrong;
  }
  return std::nullopt;
}

// --- encoding ------------------------------------------------------------------------------------

results::Box box_of(const Box& b) { return {b.x, b.y, b.width, b.height}; }
Box box_of(const results::Box& b) { return {b.x(), b.y(), b.width(), b.height()}; }

fb::Offset<results::Detection> write(fb::FlatBufferBuilder& builder, const Detection& d) {
  std::vector<results::Point> points;
  points.reserve(d.landmarks.size());
  for (const Point& point : d.landmarks) points.emplace_back(point.x, point.y);
  const auto landmarks = builder.CreateVectorOfStructs(points);
  const auto label = builder.CreateString(d.label);
  const results::Box box = box_of(d.box);
  return results::CreateDetection(builder, &box, d.score, label, landmarks);
}

fb::Offset<results::Identity> write(fb::FlatBufferBuilder& builder, const Identity& i) {
  const auto name = builder.CreateString(i.name);
  const results::Box box = box_of(i.box);
  return results::CreateIdentity(builder, &box, name, i.distance, i.confidence);
}

fb::Offset<results::Frame> write(fb::FlatBufferBuilder& builder, const FrameOf& frame) {
  const auto camera = builder.CreateString(frame.camera);
  const results::Reference reference{frame.reference.stream_id, frame.reference.sequence,
                                     frame.reference.slot, frame.reference.lane};
  const results::CorrelationId correlation{frame.correlation.high, frame.correlation.low};
  return results::CreateFrame(builder, &reference, &correlation, frame.origin_ns, camera,
                              frame.number, frame.width, frame.height);
}

// `make_body` makes the table of the union out of the vector of results.
template <class T, class MakeBody>
Result<std::vector<std::byte>> encode_message(const FrameOf& frame, const std::string& model,
                                              const std::vector<T>& all, results::Body type,
                                              MakeBody make_body) {
  if (Wrong wrong = check_all(frame, model, all)) {
    return Error{Errc::invalid_argument, 0, "a result cannot be sent: it has " + *wrong};
  }
  fb::FlatBufferBuilder builder;
  std::vector<decltype(write(builder, all.front()))> offsets;
  offsets.reserve(all.size());
  for (const T& one : all) offsets.push_back(write(builder, one));
  const fb::Offset<void> body = make_body(builder, builder.CreateVector(offsets)).Union();
  const auto name = builder.CreateString(model);
  const auto about = write(builder, frame);
  results::FinishMessageBuffer(builder, results::CreateMessage(builder, about, name, type, body));
  if (builder.GetSize() > kMaxResultBytes) {
    return Error{Errc::invalid_argument, 0,
                 "a result cannot be sent: its " + std::to_string(all.size()) + " entries take " +
                     std::to_string(builder.GetSize()) + " bytes; at most " +
                     std::to_string(kMaxResultBytes) + " are allowed"};
  }
  const auto* begin = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return std::vector<std::byte>(begin, begin + builder.GetSize());
}

// --- decoding ------------------------------------------------------------------------------------

Error refuse(const std::string& why) {
  return Error{Errc::untrusted, 0, "a result was not accepted: " + why};
}

std::string text_of(const fb::String* text) {
  return text != nullptr ? text->str() : std::string{};
}

// A private, aligned copy that was verified.
class Received {
 public:
  static Result<Received> open(std::span<const std::byte> bytes) {
    if (bytes.size() > kMaxResultBytes) {
      return refuse("it has " + std::to_string(bytes.size()) + " bytes; at most " +
                    std::to_string(kMaxResultBytes) + " are allowed");
    }
    Received received;
    received.words_.resize((bytes.size() + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t));
    if (!bytes.empty()) std::memcpy(received.words_.data(), bytes.data(), bytes.size());
    const auto* data = reinterpret_cast<const std::uint8_t*>(received.words_.data());
    if (bytes.size() < sizeof(fb::uoffset_t) + fb::FlatBufferBuilder::kFileIdentifierLength ||
        !results::MessageBufferHasIdentifier(data)) {
      return refuse("it is no result (the file identifier \"SLRS\" is missing)");
    }
    fb::Verifier verifier{data, bytes.size(), kMaxNesting, kMaxResults + kTablesBesideResults};
    if (!results::VerifyMessageBuffer(verifier)) {
      return refuse("its parts do not hang together, or it has more than " +
                    std::to_string(kMaxResults) + " results");
    }
    return received;
  }

  [[nodiscard]] const results::Message& message() const {
    return *results::GetMessage(words_.data());
  }

 private:
  std::vector<std::uint64_t> words_;
};

FrameOf read(const results::Frame& f) {
  FrameOf frame;
  const results::Reference& r = *f.reference();
  frame.reference = {r.stream_id(), r.sequence(), r.slot(), r.lane()};
  frame.correlation = {f.correlation()->high(), f.correlation()->low()};
  frame.origin_ns = f.origin_ns();
  frame.camera = text_of(f.camera());
  frame.number = f.number();
  frame.width = f.width();
  frame.height = f.height();
  return frame;
}

Result<Detection> read(const results::Detection& d) {
  Detection detection;
  detection.box = box_of(*d.box());
  detection.score = d.score();
  detection.label = text_of(d.label());
  if (d.landmarks() != nullptr) {
    // Before they are copied: many detections may share them.
    if (Wrong wrong = check_count(d.landmarks()->size(), kMaxLandmarks, "landmarks")) {
      return refuse("it has " + *wrong);
    }
    for (const results::Point* point : *d.landmarks()) {
      detection.landmarks.push_back({point->x(), point->y()});
    }
  }
  return detection;
}

Result<Identity> read(const results::Identity& i) {
  return Identity{box_of(*i.box()), text_of(i.name()), i.distance(), i.confidence()};
}

// Texts are shared as easily as landmarks, and checked before anything is copied, too.
bool too_long(const fb::String* text) { return text != nullptr && text->size() > kMaxText; }
bool too_long(const results::Detection& d) { return too_long(d.label()); }
bool too_long(const results::Identity& i) { return too_long(i.name()); }

template <class T, class Body>
Result<void> read_all(const results::Message& message, const Body* body, FrameOf& frame,
                      std::string& model, std::vector<T>& all) {
  if (body == nullptr) return refuse("it is of another kind");
  if (too_long(message.model()) || too_long(message.frame()->camera())) {
    return refuse("it has a text of more than " + std::to_string(kMaxText) + " bytes");
  }
  frame = read(*message.frame());
  model = text_of(message.model());
  if (body->all() != nullptr) {
    all.reserve(body->all()->size());
    for (const auto* one : *body->all()) {
      if (too_long(*one)) {
        return refuse("it has a text of more than " + std::to_string(kMaxText) + " bytes");
      }
      auto result = read(*one);
      if (!result) return std::move(result).error();
      all.push_back(std::move(*result));
    }
  }
  if (Wrong wrong = check_all(frame, model, all)) return refuse("it has " + *wrong);
  return {};
}

}  // namespace

FrameOf frame_of(const Sample& sample, const FrameView& view) {
  FrameOf frame;
  frame.reference = sample.reference();
  frame.correlation = sample.info().correlation;
  frame.origin_ns = sample.info().origin_ns;
  // Another process wrote the name; what is no text is left out of the results.
  const std::string_view camera = sluice::text_of(view.header.camera);
  if (pipeline::is_utf8(camera)) frame.camera = std::string(camera);
  frame.number = view.header.number;
  frame.width = view.header.width;
  frame.height = view.header.height;
  return frame;
}

std::uint64_t type_hash_of(std::string_view type_name) noexcept {
  std::uint64_t hash = 0xcbf2'9ce4'8422'2325;  // FNV-1a
  for (const char c : type_name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x0000'0100'0000'01b3;
  }
  return hash != 0 ? hash : 1;
}

StreamOptions results_stream(std::string_view type_name, std::uint32_t max_results) {
  // A detection with a label and five landmarks takes about 130 bytes; the frame and the head 250.
  constexpr std::uint64_t kEach = 192;
  constexpr std::uint64_t kOnce = 1'024;
  StreamOptions options;
  options.lanes = {{.depth = 8}};
  options.pools = {{std::min<std::uint64_t>(kOnce + kEach * max_results, kMaxResultBytes)}};
  options.max_held = 32;
  options.max_references = 1;
  options.type_hash = type_hash_of(type_name);
  options.type_name = std::string(type_name);
  return options;
}

Result<std::vector<std::byte>> encode(const Detections& d) {
  return encode_message(
      d.frame, d.model, d.detections, results::Body::Detections,
      [](auto& builder, auto all) { return results::CreateDetections(builder, all); });
}

Result<std::vector<std::byte>> encode(const Identities& i) {
  return encode_message(
      i.frame, i.model, i.identities, results::Body::Identities,
      [](auto& builder, auto all) { return results::CreateIdentities(builder, all); });
}

Result<Detections> decode_detections(std::span<const std::byte> bytes) {
  auto received = Received::open(bytes);
  if (!received) return std::move(received).error();
  const results::Message& message = received->message();
  Detections d;
  auto done = read_all(message, message.body_as_Detections(), d.frame, d.model, d.detections);
  if (!done) return std::move(done).error();
  return d;
}

Result<Identities> decode_identities(std::span<const std::byte> bytes) {
  auto received = Received::open(bytes);
  if (!received) return std::move(received).error();
  const results::Message& message = received->message();
  Identities i;
  auto done = read_all(message, message.body_as_Identities(), i.frame, i.model, i.identities);
  if (!done) return std::move(done).error();
  return i;
}

}  // namespace sluice
