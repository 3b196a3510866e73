#include "sluice/results.hpp"

#include "pipeline/results_generated.h"
#include "tests/support/local_link.hpp"

#include <flatbuffers/flatbuffers.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace sluice {
namespace {

namespace fb = flatbuffers;
using test::must;

FrameOf some_frame() {
  FrameOf frame;
  frame.reference = {0x0123'4567'89ab'cdef, 42, 3, 0};
  frame.correlation = {7, 9};
  frame.origin_ns = 123'456'789;
  frame.camera = "front";
  frame.number = 1'000;
  frame.width = 1'280;
  frame.height = 720;
  return frame;
}

Detections two_detections() {
  Detections d{some_frame(), "lbpcascade_frontalface", {}};
  d.detections.push_back({{10, 20, 30, 40}, 0.75f, "face", {{1, 2}, {3, 4}, {5, 6.5f}}});
  d.detections.push_back({{-1, 0, 2.5f, 3}, -4, "person", {}});
  return d;
}

Identities two_identities() {
  Identities i{some_frame(), "lbph", {}};
  i.identities.push_back({{10, 20, 30, 40}, "Grace Hopper", 61.5f, 0.5f});
  i.identities.push_back({{1, 2, 3, 4}, std::string(kUnknownName), 180, 0});
  return i;
}

// A message that encode() would not make.
template <class Fill>
std::vector<std::byte> made_by_hand(Fill fill) {
  fb::FlatBufferBuilder builder;
  const auto body = fill(builder);
  const results::Reference reference{1, 2, 3, 0};
  const results::CorrelationId correlation{4, 5};
  const auto frame = results::CreateFrame(builder, &reference, &correlation);
  results::FinishMessageBuffer(
      builder, results::CreateMessage(builder, frame, 0, results::Body::Detections, body.Union()));
  const auto* data = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return {data, data + builder.GetSize()};
}

void expect_refused(const std::vector<std::byte>& bytes, const std::string& why) {
  const auto d = decode_detections(bytes);
  ASSERT_FALSE(d) << "expected: " << why;
  EXPECT_EQ(d.error().code, Errc::untrusted);
  EXPECT_NE(d.error().message.find(why), std::string::npos) << d.error().message;
}

TEST(Results, EverythingArrives) {
  const Detections d = two_detections();
  EXPECT_EQ(must(decode_detections(must(encode(d)))), d);
  const Identities i = two_identities();
  EXPECT_EQ(must(decode_identities(must(encode(i)))), i);
}

TEST(Results, NothingFoundIsAResultToo) {
  const Detections d{some_frame(), "", {}};
  EXPECT_EQ(must(decode_detections(must(encode(d)))), d);
  EXPECT_EQ(must(decode_identities(must(encode(Identities{})))), Identities{});
}

TEST(Results, WhereTheBytesLieDoesNotMatter) {
  const auto bytes = must(encode(two_detections()));
  for (std::size_t shift = 0; shift < 8; ++shift) {
    std::vector<std::byte> moved(shift);
    moved.insert(moved.end(), bytes.begin(), bytes.end());
    EXPECT_EQ(must(decode_detections(std::span{moved}.subspan(shift))), two_detections());
  }
}

TEST(Results, TheKindsAreToldApart) {
  const auto wrong = decode_identities(must(encode(two_detections())));
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("another kind"), std::string::npos) << wrong.error().message;
  expect_refused(must(encode(two_identities())), "another kind");
}

TEST(Results, WhatIsNotWholeIsRefused) {
  const auto whole = must(encode(two_detections()));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto part = decode_detections(std::span{whole}.first(size));
    if (part) {
      EXPECT_EQ(*part, two_detections()) << "only padding may be missing";
    }
  }
  expect_refused({}, "identifier");
  expect_refused(std::vector<std::byte>(64), "identifier");
  expect_refused(std::vector<std::byte>(kMaxResultBytes + 1), "at most 1048576");
}

TEST(Results, EveryChangedByteIsRefusedOrReadSafely) {
  const auto whole = must(encode(two_detections()));
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      auto bytes = whole;
      bytes[at] = static_cast<std::byte>(value);
      const auto d = decode_detections(bytes);
      if (d) {
        EXPECT_TRUE(encode(*d)) << "what is accepted could have been sent; byte " << at;
      } else {
        EXPECT_EQ(d.error().code, Errc::untrusted);
      }
    }
  }
}

TEST(Results, WhatCannotBeSentSaysWhy) {
  const auto expect_not_sent = [](const Detections& d, const std::string& why) {
    const auto bytes = encode(d);
    ASSERT_FALSE(bytes) << why;
    EXPECT_EQ(bytes.error().code, Errc::invalid_argument);
    EXPECT_NE(bytes.error().message.find(why), std::string::npos) << bytes.error().message;
  };
  Detections d = two_detections();
  d.detections[0].label = std::string(256, 'x');
  expect_not_sent(d, "a label of 256 bytes");
  d = two_detections();
  d.detections[1].label = "caf\xe9";
  expect_not_sent(d, "a label that is not UTF-8");
  d = two_detections();
  d.detections[1].box.width = std::numeric_limits<float>::infinity();
  expect_not_sent(d, "not finite");
  d = two_detections();
  d.detections[0].landmarks[2].y = std::numeric_limits<float>::quiet_NaN();
  expect_not_sent(d, "a landmark");
  d = two_detections();
  d.frame.camera = std::string(300, 'c');
  expect_not_sent(d, "a camera's name of 300 bytes");
  d = two_detections();
  d.detections.resize(4'097);
  expect_not_sent(d, "4097 results");
  d = two_detections();
  d.detections[0].landmarks.resize(513);
  expect_not_sent(d, "513 landmarks");
  d = two_detections();
  d.detections.assign(4'096, {{}, 0, std::string(255, 'x'), {}});
  expect_not_sent(d, "at most 1048576");
}

TEST(Results, WhatOthersSendIsHeldAgainstTheSameLimits) {
  const results::Box box{1, 2, 3, 4};
  expect_refused(made_by_hand([&](fb::FlatBufferBuilder& b) {
                   const auto label = b.CreateString(std::string(256, 'x'));
                   const std::vector all{results::CreateDetection(b, &box, 0, label)};
                   return results::CreateDetections(b, b.CreateVector(all));
                 }),
                 "text of more than 255 bytes");
  expect_refused(made_by_hand([&](fb::FlatBufferBuilder& b) {
                   const results::Box infinite{1, std::numeric_limits<float>::infinity(), 3, 4};
                   const std::vector all{results::CreateDetection(b, &infinite)};
                   return results::CreateDetections(b, b.CreateVector(all));
                 }),
                 "not finite");
  expect_refused(made_by_hand([&](fb::FlatBufferBuilder& b) {
                   const auto label = b.CreateString("\xff\xfe");
                   const std::vector all{results::CreateDetection(b, &box, 0, label)};
                   return results::CreateDetections(b, b.CreateVector(all));
                 }),
                 "not UTF-8");
}

TEST(Results, ASmallMessageThatPromisesMuchIsRefused) {
  const results::Box box{1, 2, 3, 4};
  // One detection, named 100,000 times.
  expect_refused(made_by_hand([&](fb::FlatBufferBuilder& b) {
                   const std::vector all(100'000, results::CreateDetection(b, &box));
                   return results::CreateDetections(b, b.CreateVector(all));
                 }),
                 "more than 4096 results");
  // 50,000 landmarks, shared by 4,000 detections.
  expect_refused(made_by_hand([&](fb::FlatBufferBuilder& b) {
                   const std::vector<results::Point> points(50'000);
                   const auto shared = b.CreateVectorOfStructs(points);
                   const std::vector all(4'000, results::CreateDetection(b, &box, 0, 0, shared));
                   return results::CreateDetections(b, b.CreateVector(all));
                 }),
                 "landmarks");
}

TEST(Results, TypeNamesHaveHashesOfTheirOwn) {
  EXPECT_NE(type_hash_of(kDetectionsType), type_hash_of(kIdentitiesType));
  EXPECT_NE(type_hash_of(kFrameType), type_hash_of(kDetectionsType));
  EXPECT_NE(type_hash_of(""), 0u);
}

TEST(Results, AStreamHasRoomForOrdinaryResultsAndHoldsTheFrame) {
  Detections d{some_frame(), "yunet", {}};
  d.detections.assign(64, {{1, 2, 3, 4}, 0.5f, "face", std::vector<Point>(5)});
  const auto bytes = must(encode(d));
  const StreamOptions options = results_stream(kDetectionsType, 64);
  EXPECT_GE(options.pools[0].slot_bytes, bytes.size());
  EXPECT_EQ(options.type_hash, type_hash_of(kDetectionsType));
  EXPECT_EQ(options.type_name, kDetectionsType);

  StreamOptions frames;
  frames.pools = {{frame_bytes(PixelFormat::grey, 64, 48)}};
  test::LocalLink camera{frames};
  auto detector = camera.attach({});
  auto recognizer_pixels = camera.attach({.mode = DeliveryMode::latest});
  test::LocalLink objects{options};
  auto recognizer = objects.attach({});

  Loan frame = camera.publisher().loan(frames.pools[0].slot_bytes);
  FrameHeader* header = lay_out_frame(frame, PixelFormat::grey, 64, 48);
  ASSERT_NE(header, nullptr);
  std::strcpy(header->camera.data(), "front");
  header->number = 77;
  frame.headers.correlation = {11, 12};
  frame.headers.origin_ns = 13;
  ASSERT_EQ(camera.publisher().publish(std::move(frame)), Outcome::ok);

  Sample taken = detector->take();
  const FrameView view = must(view_frame(taken));
  d.frame = frame_of(taken, view);
  EXPECT_EQ(d.frame.camera, "front");
  EXPECT_EQ(d.frame.number, 77u);
  EXPECT_EQ(d.frame.width, 64u);
  EXPECT_EQ(d.frame.correlation, (CorrelationId{11, 12}));
  EXPECT_EQ(d.frame.origin_ns, 13u);
  const auto message = must(encode(d));
  Loan loan = objects.publisher().loan(message.size());
  ASSERT_TRUE(loan);
  std::memcpy(loan.data(), message.data(), message.size());
  ASSERT_EQ(loan.attach(std::move(taken)), Outcome::ok);
  ASSERT_EQ(objects.publisher().publish(std::move(loan)), Outcome::ok);

  const Sample result = recognizer->take();
  const Detections arrived = must(decode_detections(result.bytes()));
  EXPECT_EQ(arrived, d);
  const Sample original = recognizer_pixels->resolve(arrived.frame.reference);
  ASSERT_TRUE(original) << to_string(original.outcome());
  EXPECT_EQ(must(view_frame(original)).header.number, 77u);
}

}  // namespace
}  // namespace sluice
