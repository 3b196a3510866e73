// Payloads as C++ types and as text, over a real broker: FlatBuffers in place, and messages as
// JSON.
#include "shm/fd.hpp"
#include "sluice/codec.hpp"
#include "sluice/correlation.hpp"
#include "tests/process/measurement_generated.h"
#include "tests/support/bus_fixture.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::test {
namespace {

constexpr std::string_view kType = "sluice.test.Measurement";

const Measurement* reading_of(const Message& message, std::string_view type = kType) {
  return flatbuffer_of(
      message, type_hash_of_name(type),
      [](const std::uint8_t* data, std::size_t size) {
        flatbuffers::Verifier verifier{data, size};
        return VerifyMeasurementBuffer(verifier);
      },
      [](const void* data) { return GetMeasurement(data); });
}

flatbuffers::FlatBufferBuilder reading(std::uint32_t sensor) {
  flatbuffers::FlatBufferBuilder builder;
  const auto name = builder.CreateString("kitchen");
  const auto values = builder.CreateVector(std::vector<double>{1.5, 2.5});
  const Position position{3, 4};
  builder.Finish(CreateMeasurement(builder, sensor, name, &position, values));
  return builder;
}

class MessageCodecTest : public BusTest {
 protected:
  static std::span<const std::byte> bytes_of(const flatbuffers::FlatBufferBuilder& builder) {
    return std::as_bytes(std::span{builder.GetBufferPointer(), builder.GetSize()});
  }
  // The next one, of which the test looks at the bytes.
  static Message next(MessageSubscriber& in) {
    Message message = in.receive(soon());
    EXPECT_TRUE(message);
    return message;
  }
};

// --- FlatBuffers

TEST_F(MessageCodecTest, AFlatBufferIsReadInPlace) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t", flatbuffer_publisher(kType, 1'024));
  MessageSubscriber in = subscriber(a, "t");
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(publish_flatbuffer(out, reading(7), {.priority = Priority::high}), Outcome::ok);
  const Message message = next(in);
  EXPECT_EQ(message.envelope().codec, Codec::flatbuffer);
  EXPECT_EQ(message.info().type_hash, type_hash_of_name(kType));
  EXPECT_EQ(message.info().priority, Priority::high);
  const Measurement* const found = reading_of(message);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->sensor(), 7u);
  EXPECT_EQ(found->name()->str(), "kitchen");
  EXPECT_EQ(found->position()->y(), 4.0);
  EXPECT_EQ(found->values()->Get(1), 2.5);
  const auto* const at = reinterpret_cast<const std::byte*>(found);
  const std::span<const std::byte> payload = message.payload();
  EXPECT_TRUE(at >= payload.data() && at < payload.data() + payload.size());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(payload.data()) % kPayloadAlignment, 0u);
}

TEST_F(MessageCodecTest, AFlatBufferThatIsTooLargeIsNotPublished) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t", flatbuffer_publisher(kType, 16));
  flatbuffers::FlatBufferBuilder builder;
  const auto name = builder.CreateString(std::string(1'000, 'x'));
  builder.Finish(CreateMeasurement(builder, 7, name));
  EXPECT_EQ(publish_flatbuffer(out, builder), Outcome::too_large);
}

TEST_F(MessageCodecTest, WhatIsNoFlatBufferOfTheTypeIsNone) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t", flatbuffer_publisher(kType, 1'024));
  MessagePublisherOptions other = flatbuffer_publisher(kType, 1'024);
  other.codec = Codec::bytes;
  MessagePublisher of_bytes = publisher(a, "t", other);
  MessageSubscriber in = subscriber(a, "t");
  ASSERT_TRUE(attached(out) && attached(of_bytes));
  EXPECT_EQ(reading_of(Message{}), nullptr);
  const flatbuffers::FlatBufferBuilder built = reading(7);

  ASSERT_EQ(publish_flatbuffer(of_bytes, built), Outcome::ok);
  EXPECT_EQ(reading_of(next(in)), nullptr) << "another codec";
  ASSERT_EQ(publish_flatbuffer(out, built, {.type_hash = 5}), Outcome::ok);
  EXPECT_EQ(reading_of(next(in)), nullptr) << "another type";
  ASSERT_EQ(publish_flatbuffer(out, built), Outcome::ok);
  EXPECT_EQ(reading_of(next(in), "sluice.test.Writing"), nullptr) << "another type is asked for";

  // However much is missing at the end.
  for (std::size_t size = 0; size != built.GetSize(); ++size) {
    ASSERT_EQ(out.publish(bytes_of(built).first(size), {}), Outcome::ok);
    EXPECT_EQ(reading_of(next(in)), nullptr) << size;
  }
  // Offsets that lead out of it.
  for (std::size_t at = 0; at != 4; ++at) {
    std::vector<std::byte> bad(bytes_of(built).begin(), bytes_of(built).end());
    bad[at] = std::byte{0xff};
    ASSERT_EQ(out.publish(std::span<const std::byte>{bad}, {}), Outcome::ok);
    EXPECT_EQ(reading_of(next(in)), nullptr) << at;
  }
  ASSERT_EQ(publish_flatbuffer(out, built), Outcome::ok);
  EXPECT_NE(reading_of(next(in)), nullptr);
}

// The bus aligns payloads; what is lent lies where it lies.
TEST_F(MessageCodecTest, WhatLiesAskewIsNotReadInPlace) {
  struct Pair {
    double first = 0;
    double second = 0;
  };
  constexpr std::size_t kBytes = 4'096;
  const shm::UniqueFd file{::memfd_create("elsewhere", MFD_CLOEXEC)};
  ASSERT_EQ(::ftruncate(file.get(), kBytes), 0);
  auto* const memory = static_cast<std::byte*>(
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
  const shm::UniqueFd readable{
      ::open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_RDONLY)};
  Node a = node("a");
  StreamOptions small;
  small.pools = {{64}};
  Publisher out = value(a.advertise("t", small));
  MessageSubscriber in = subscriber(a, "t");
  ASSERT_TRUE(eventually([&] { return out.subscriber_count() == 1; }));
  const std::uint32_t pool =
      value(out.add_foreign_pool({readable.get(), kBytes, [](std::uint64_t) {}}));
  const auto lend = [&](std::size_t offset, Codec codec, std::uint64_t type,
                        std::span<const std::byte> payload) {
    Envelope envelope;
    envelope.id = new_correlation_id();
    envelope.codec = codec;
    std::memcpy(memory + offset, &envelope, sizeof envelope);
    std::memcpy(memory + offset + sizeof envelope, payload.data(), payload.size());
    Loan loan = out.lend({pool, offset, sizeof envelope + payload.size(), 1});
    loan.headers.type_hash = type;
    EXPECT_EQ(out.publish(std::move(loan)), Outcome::ok);
    Message message = in.receive(soon());  // waited for: the memory is on its way as well
    EXPECT_TRUE(message);
    return message;
  };
  const flatbuffers::FlatBufferBuilder built = reading(7);
  const Pair pair{1, 2};
  const std::span<const std::byte> flat = std::as_bytes(std::span{&pair, 1});
  for (const std::size_t offset : {0, 32, 4, 8, 16, 1}) {
    const Message buffer =
        lend(offset, Codec::flatbuffer, type_hash_of_name(kType), bytes_of(built));
    EXPECT_EQ(reading_of(buffer) != nullptr, offset % kPayloadAlignment == 0) << offset;
  }
  for (const std::size_t offset : {0, 32, 4, 8, 16, 1}) {
    const Message message = lend(offset, Codec::flat, type_fingerprint<Pair>(), flat);
    EXPECT_EQ(flat_of<Pair>(message) != nullptr, offset % alignof(Pair) == 0) << offset;
  }
  ::munmap(memory, kBytes);
}

// --- to_json

using nlohmann::json;

TEST_F(MessageCodecTest, AsJsonAMessageSaysWhatItIs) {
  EXPECT_EQ(to_json(Message{}), "null");
  Node a = node("a");
  MessagePublisherOptions options;
  options.codec = Codec::text;
  MessagePublisher out = publisher(a, "t", options);
  MessageSubscriber in = subscriber(a, "t");
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("on\nand \"off\"", {.priority = Priority::high,
                                            .ttl_ns = 600'000'000'000,
                                            .destination = a.id(),
                                            .type_hash = 0xabc}),
            Outcome::ok);
  const Message message = next(in);
  const std::string text = to_json(message);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const json found = json::parse(text);
  EXPECT_EQ(found["topic"], "t");
  EXPECT_EQ(found["kind"], "event");
  EXPECT_EQ(found["codec"], "text");
  EXPECT_EQ(found["text"], "on\nand \"off\"");
  EXPECT_EQ(found["id"], to_string(message.envelope().id));
  EXPECT_EQ(found["correlation"], found["id"]);
  EXPECT_EQ(found["destination"], found["source"]);
  EXPECT_EQ(found["type"], "0000000000000abc");
  EXPECT_EQ(found["expires_ns"], message.envelope().expires_ns);
  EXPECT_EQ(found["priority"], 1);
  EXPECT_EQ(found["hops"], 1);
  EXPECT_EQ(found["sequence"], 1);
  EXPECT_TRUE(parse_traceparent(found["traceparent"].get<std::string>()));
  for (const char* absent :
       {"tracestate", "call", "status", "bytes", "payload", "deliveries_before"}) {
    EXPECT_FALSE(found.contains(absent)) << absent;
  }
}

TEST_F(MessageCodecTest, AsJsonEveryPayloadIsShown) {
  Node a = node("a");
  const auto shown = [&](Codec codec, std::string_view payload) {
    MessagePublisherOptions options;
    options.codec = codec;
    MessagePublisher out = publisher(a, "t", options);
    MessageSubscriber in = subscriber(a, "t");
    EXPECT_TRUE(attached(out));
    EXPECT_EQ(out.publish(payload), Outcome::ok);
    const json all = json::parse(to_json(next(in)));
    json found = json::object();
    for (const char* key : {"payload", "text", "bytes", "base64"}) {
      if (all.contains(key)) found[key] = all[key];
    }
    return found;
  };
  EXPECT_EQ(shown(Codec::json, R"({"a":[1,null]})"), json::parse(R"({"payload":{"a":[1,null]}})"));
  EXPECT_EQ(shown(Codec::json, "{\"a\":"), json({{"text", "{\"a\":"}}));
  EXPECT_EQ(shown(Codec::json, ""), json({{"text", ""}}));
  EXPECT_EQ(shown(Codec::json, std::string(65, '[') + std::string(65, ']')),
            json({{"text", std::string(65, '[') + std::string(65, ']')}}));
  EXPECT_EQ(shown(Codec::text,
                  "a\xff"
                  "b"),
            json({{"text",
                   "a\xef\xbf\xbd"
                   "b"}}));
  // RFC 4648, section 10.
  EXPECT_EQ(shown(Codec::bytes, ""), json({{"bytes", 0}, {"base64", ""}}));
  EXPECT_EQ(shown(Codec::bytes, "f"), json({{"bytes", 1}, {"base64", "Zg=="}}));
  EXPECT_EQ(shown(Codec::bytes, "fo"), json({{"bytes", 2}, {"base64", "Zm8="}}));
  EXPECT_EQ(shown(Codec::flat, "foo"), json({{"bytes", 3}, {"base64", "Zm9v"}}));
  EXPECT_EQ(shown(Codec::flatbuffer, "\xfb\xff\xfe"), json({{"bytes", 3}, {"base64", "+//+"}}));
}

TEST_F(MessageCodecTest, AsJsonItIsOnePieceWhileItsSenderChangesIt) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sender means harm, and races";
#endif
  Node a = node("a");
  MessagePublisherOptions options;
  options.codec = Codec::json;
  MessagePublisher out = publisher(a, "t", options);
  MessageSubscriber in = subscriber(a, "t");
  ASSERT_TRUE(attached(out));
  std::string payload = "[";
  for (int i = 0; i < 100; ++i) payload += "1,";
  payload += "1]";
  Published published;
  ASSERT_EQ(out.publish(bytes(payload), {}, published), Outcome::ok);
  const Message message = next(in);
  auto* const last = reinterpret_cast<char*>(out.stream().amend(published.reference)) +
                     message.envelope().header_bytes + payload.size() - 1;
  std::atomic<bool> over{false};
  std::thread harm{[&] {
    while (!over) {
      for (const char c : {'}', ']'}) std::atomic_ref{*last}.store(c);
    }
  }};
  int whole = 0;
  int broken = 0;
  std::string wrong;
  for (int i = 0; i < 5'000 && wrong.empty(); ++i) {
    try {
      const json found = json::parse(to_json(message));
      found.contains("payload") ? ++whole : ++broken;
    } catch (const std::exception& e) {
      wrong = e.what();
    }
  }
  over = true;
  harm.join();
  EXPECT_EQ(wrong, "");
  EXPECT_EQ(whole + broken, 5'000);
}

}  // namespace
}  // namespace sluice::test
