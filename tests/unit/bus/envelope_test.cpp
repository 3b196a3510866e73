#include "sluice/envelope.hpp"

#include "sluice/correlation.hpp"
#include "transport/bus/envelope_writer.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

// A slot with a valid envelope, `extensions`, and `payload` bytes.
std::vector<std::byte> slot_with(Envelope envelope, const bus::Extensions& extensions = {},
                                 std::size_t payload = 8) {
  envelope.header_bytes = static_cast<std::uint16_t>(extensions.header_bytes());
  if (envelope.id == MessageId{}) envelope.id = new_correlation_id();
  std::vector<std::byte> slot(envelope.header_bytes + payload);
  std::memcpy(slot.data(), &envelope, sizeof envelope);
  extensions.write({slot.data(), envelope.header_bytes});
  return slot;
}

std::string_view text(std::span<const std::byte> bytes) { return bus::text_of_bytes(bytes); }

TEST(Envelope, OfAnEventIsReadAsItWasWritten) {
  Envelope sent;
  sent.codec = Codec::json;
  sent.hops = 3;
  sent.source = 77;
  sent.expires_ns = 123;
  const auto slot = slot_with(sent);
  const auto read = read_envelope(slot);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->kind, MessageKind::event);
  EXPECT_EQ(read->codec, Codec::json);
  EXPECT_EQ(read->hops, 3);
  EXPECT_EQ(read->source, 77u);
  EXPECT_EQ(read->expires_ns, 123u);
  EXPECT_EQ(read->header_bytes, 96);
}

struct Damage {
  const char* name;
  void (*done)(Envelope&);
};

class DamagedEnvelope : public testing::TestWithParam<Damage> {};

TEST_P(DamagedEnvelope, IsNone) {
  auto slot = slot_with({});
  Envelope envelope;
  std::memcpy(static_cast<void*>(&envelope), slot.data(), sizeof envelope);
  ASSERT_TRUE(read_envelope(slot));
  GetParam().done(envelope);
  std::memcpy(slot.data(), &envelope, sizeof envelope);
  EXPECT_FALSE(read_envelope(slot));
}

INSTANTIATE_TEST_SUITE_P(
    Each, DamagedEnvelope,
    testing::Values(Damage{"magic", [](Envelope& e) { e.magic ^= 1; }},
                    Damage{"version", [](Envelope& e) { e.version = 2; }},
                    Damage{"no_kind", [](Envelope& e) { e.kind = MessageKind{0}; }},
                    Damage{"strange_kind", [](Envelope& e) { e.kind = MessageKind{5}; }},
                    Damage{"strange_codec", [](Envelope& e) { e.codec = Codec{5}; }},
                    Damage{"too_many_hops", [](Envelope& e) { e.hops = kMaxHops + 1; }},
                    Damage{"no_attempt", [](Envelope& e) { e.attempt = 0; }},
                    Damage{"header_too_small", [](Envelope& e) { e.header_bytes = 64; }},
                    Damage{"header_not_aligned", [](Envelope& e) { e.header_bytes = 100; }},
                    Damage{"header_beyond_the_slot", [](Envelope& e) { e.header_bytes = 128; }},
                    Damage{"header_of_64k", [](Envelope& e) { e.header_bytes = 0xffe0; }},
                    Damage{"no_id", [](Envelope& e) { e.id = {}; }}),
    [](const auto& instance) { return instance.param.name; });

TEST(Envelope, IsNoneInASlotThatIsTooSmall) {
  const auto slot = slot_with({}, {}, 0);
  EXPECT_TRUE(read_envelope(slot));
  EXPECT_FALSE(read_envelope(std::span{slot}.first(95)));
  EXPECT_FALSE(read_envelope({}));
}

TEST(Extensions, AreFoundByTheirIds) {
  bus::Extensions extensions;
  extensions.add(ExtensionId::tracestate, "a=1");
  extensions.add(ExtensionId::reply_to, "$reply/x");
  extensions.add(ExtensionId::error, std::string_view{});  // left out
  const auto slot = slot_with({}, extensions);
  const auto envelope = read_envelope(slot);
  ASSERT_TRUE(envelope);
  EXPECT_EQ(envelope->header_bytes, 128);
  EXPECT_EQ(text(find_extension(slot, *envelope, ExtensionId::tracestate)), "a=1");
  EXPECT_EQ(text(find_extension(slot, *envelope, ExtensionId::reply_to)), "$reply/x");
  EXPECT_TRUE(find_extension(slot, *envelope, ExtensionId::error).empty());
}

TEST(Extensions, ThatWereNotAskedForAreSkipped) {
  bus::Extensions extensions;
  extensions.add(ExtensionId{999}, "something of a later version");
  extensions.add(ExtensionId::reply_to, "here");
  const auto slot = slot_with({}, extensions);
  EXPECT_EQ(text(find_extension(slot, *read_envelope(slot), ExtensionId::reply_to)), "here");
}

// Whatever stands there, nothing outside of the header is read, and the walk ends.
TEST(Extensions, ThatLieAboutTheirSizeEndTheList) {
  bus::Extensions extensions;
  extensions.add(ExtensionId::tracestate, "a=1");
  extensions.add(ExtensionId::reply_to, "there");
  auto slot = slot_with({}, extensions);
  for (const std::uint16_t size : std::initializer_list<std::uint16_t>{5, 100, 0xffff}) {
    std::memcpy(slot.data() + sizeof(Envelope) + 2, &size, sizeof size);
    const auto envelope = read_envelope(slot);
    ASSERT_TRUE(envelope);
    const auto found = find_extension(slot, *envelope, ExtensionId::reply_to);
    EXPECT_LE(found.size(), std::size_t{32});
    if (size > 32) {
      EXPECT_TRUE(found.empty());
    }
  }
}

TEST(Extensions, ThatAreTooLongAreCutOff) {
  const std::string longer(bus::Extensions::kMaxBytes + 1, 'x');
  bus::Extensions extensions;
  extensions.add(ExtensionId::error, longer);
  const auto slot = slot_with({}, extensions);
  EXPECT_EQ(find_extension(slot, *read_envelope(slot), ExtensionId::error).size(),
            bus::Extensions::kMaxBytes);
}

// Half a topic, tracestate or key would be another one.
TEST(Extensions, OnlyASentenceIsCutOffAndAtAWholeCharacter) {
  constexpr std::size_t kMax = bus::Extensions::kMaxBytes;
  const std::string longer(kMax + 500, 'x');
  std::string sentence(kMax - 1, 'x');
  sentence.append("\xc3\xa4rger");
  bus::Extensions extensions;
  EXPECT_TRUE(extensions.add(ExtensionId::topic, longer));
  EXPECT_TRUE(extensions.add(ExtensionId::error, sentence));
  EXPECT_FALSE(extensions.add(ExtensionId::key, std::string(kMaxHeaderBytes, 'x')));
  EXPECT_FALSE(extensions.add(ExtensionId::reply_to, std::string_view{}));
  const auto slot = slot_with({}, extensions);
  EXPECT_EQ(text(find_extension(slot, *read_envelope(slot), ExtensionId::topic)), longer);
  EXPECT_EQ(text(find_extension(slot, *read_envelope(slot), ExtensionId::error)),
            std::string(kMax - 1, 'x'));
  EXPECT_TRUE(find_extension(slot, *read_envelope(slot), ExtensionId::key).empty());
}

TEST(Extensions, TogetherStayWithinTheLargestHeader) {
  const std::string large(bus::Extensions::kMaxBytes, 'x');
  bus::Extensions extensions;
  for (std::uint16_t i = 1; i <= 6; ++i) extensions.add(ExtensionId{i}, large);
  EXPECT_LE(extensions.header_bytes(), kMaxHeaderBytes);
  const auto slot = slot_with({}, extensions);
  const auto envelope = read_envelope(slot);
  ASSERT_TRUE(envelope);
  EXPECT_EQ(find_extension(slot, *envelope, ExtensionId{1}).size(), large.size());
}

}  // namespace
}  // namespace sluice::test
