// The shared layout, version 4, number by number. A change here is a change of the format: it needs
// a new kLayoutVersion and docs/shm_format.md.
#include "shm/layout.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace sluice::shm {
namespace {

TEST(Layout, SpellsItsMagicInMemory) {
  const std::uint64_t magic = kMagic;
  EXPECT_EQ(std::memcmp(&magic, "SLUICE01", 8), 0);
  EXPECT_EQ(kLayoutVersion, 4u);
}

TEST(Layout, HasAControlHeaderOf576Bytes) {
  EXPECT_EQ(sizeof(ControlHeader), 576u);
  EXPECT_EQ(offsetof(ControlHeader, magic), 0u);
  EXPECT_EQ(offsetof(ControlHeader, layout_version), 8u);
  EXPECT_EQ(offsetof(ControlHeader, header_bytes), 12u);
  EXPECT_EQ(offsetof(ControlHeader, stream_id), 16u);
  EXPECT_EQ(offsetof(ControlHeader, created_ns), 24u);
  EXPECT_EQ(offsetof(ControlHeader, control_bytes), 32u);
  EXPECT_EQ(offsetof(ControlHeader, type_hash), 40u);
  EXPECT_EQ(offsetof(ControlHeader, lane_count), 48u);
  EXPECT_EQ(offsetof(ControlHeader, pool_count), 52u);
  EXPECT_EQ(offsetof(ControlHeader, slot_limit), 56u);
  EXPECT_EQ(offsetof(ControlHeader, max_readers), 60u);
  EXPECT_EQ(offsetof(ControlHeader, slots_offset), 64u);
  EXPECT_EQ(offsetof(ControlHeader, publisher_pid), 72u);
  EXPECT_EQ(offsetof(ControlHeader, max_references), 76u);
  EXPECT_EQ(offsetof(ControlHeader, flags), 80u);
  EXPECT_EQ(offsetof(ControlHeader, trailer_bytes), 84u);
  EXPECT_EQ(offsetof(ControlHeader, lanes), 128u);
  EXPECT_EQ(offsetof(ControlHeader, pools), 256u);
  EXPECT_EQ(offsetof(ControlHeader, label), 512u);
}

TEST(Layout, HasLaneAndPoolRecordsOf32Bytes) {
  EXPECT_EQ(sizeof(LaneRecord), 32u);
  EXPECT_EQ(offsetof(LaneRecord, ring_offset), 0u);
  EXPECT_EQ(offsetof(LaneRecord, depth), 8u);
  EXPECT_EQ(offsetof(LaneRecord, ring_entries), 12u);
  EXPECT_EQ(offsetof(LaneRecord, history), 16u);
  EXPECT_EQ(sizeof(PoolRecord), 32u);
  EXPECT_EQ(offsetof(PoolRecord, pool_bytes), 0u);
  EXPECT_EQ(offsetof(PoolRecord, slot_bytes), 8u);
  EXPECT_EQ(offsetof(PoolRecord, first_slot), 16u);
  EXPECT_EQ(offsetof(PoolRecord, slot_count), 20u);
  EXPECT_EQ(offsetof(PoolRecord, flags), 24u);
}

TEST(Layout, PutsTheRingsBehindTheCounters) {
  EXPECT_EQ(kStateOffset, 576u);
  EXPECT_EQ(kHeadOffset, 640u);
  EXPECT_EQ(kPublisherCountersOffset, 704u);
  EXPECT_EQ(offsetof(PublisherCounters, dropped), 112u);
  EXPECT_EQ(offsetof(PublisherCounters, jitter_ns), 120u);
  EXPECT_EQ(kSourceOffset, 832u);
  EXPECT_EQ(kIntervalsOffset, 896u);
  EXPECT_EQ(kPublishAgesOffset, 1408u);
  EXPECT_EQ(kRingsOffset, 1920u);
  EXPECT_EQ(sizeof(Histogram), 512u);
  EXPECT_EQ(sizeof(SourceLine), 64u);
  EXPECT_EQ(offsetof(SourceLine, fourcc), 40u);
}

TEST(Layout, HasEntriesAndSlotRecordsOfOneLine) {
  EXPECT_EQ(sizeof(Entry), 64u);
  EXPECT_EQ(offsetof(Entry, sequence), 0u);
  EXPECT_EQ(offsetof(Entry, publish_ns), 8u);
  EXPECT_EQ(offsetof(Entry, origin_ns), 16u);
  EXPECT_EQ(offsetof(Entry, correlation_high), 24u);
  EXPECT_EQ(offsetof(Entry, correlation_low), 32u);
  EXPECT_EQ(offsetof(Entry, type_hash), 40u);
  EXPECT_EQ(offsetof(Entry, place), 48u);
  EXPECT_EQ(offsetof(Entry, meta), 56u);
  EXPECT_EQ(sizeof(SlotRecord), 64u);
  EXPECT_EQ(offsetof(SlotRecord, word), 0u);
  EXPECT_EQ(offsetof(SlotRecord, bytes), 8u);
  EXPECT_EQ(offsetof(SlotRecord, publish_ns), 16u);
  EXPECT_EQ(offsetof(SlotRecord, meta), 56u);
}

TEST(Layout, HasAReaderPageWithItsHotLineAtTheEnd) {
  EXPECT_EQ(offsetof(ReaderPage, identity), 0u);
  EXPECT_EQ(offsetof(ReaderPage, sleeping), 64u);
  EXPECT_EQ(offsetof(ReaderPage, counters), 128u);
  EXPECT_EQ(offsetof(ReaderPage, age), 256u);
  EXPECT_EQ(offsetof(ReaderPage, processing), 768u);
  EXPECT_EQ(offsetof(ReaderPage, end_to_end), 1280u);
  EXPECT_EQ(offsetof(ReaderPage, progress), 1792u);
  EXPECT_EQ(offsetof(ProgressLine, taken), 0u);
  EXPECT_EQ(offsetof(ProgressLine, returned), 32u);
  EXPECT_EQ(kReaderHotOffset, 1856u);
  EXPECT_EQ(kClaimsOffset, 1888u);
  EXPECT_EQ(offsetof(IdentityLine, mode), 0u);
  EXPECT_EQ(offsetof(IdentityLine, max_held), 4u);
  EXPECT_EQ(offsetof(IdentityLine, pid), 8u);
  EXPECT_EQ(offsetof(IdentityLine, stream_id), 16u);
  EXPECT_EQ(offsetof(IdentityLine, claim_pairs), 24u);
  EXPECT_EQ(offsetof(IdentityLine, attached_ns), 32u);
  EXPECT_EQ(offsetof(SleepLine, sleep), 0u);
  EXPECT_EQ(offsetof(SleepLine, room), 4u);
  EXPECT_EQ(offsetof(SleepLine, state), 8u);
  EXPECT_EQ(offsetof(ReaderCounters, lost), 8u);
  EXPECT_EQ(offsetof(ReaderCounters, bytes), 48u);
  EXPECT_EQ(offsetof(ReaderCounters, resolved), 64u);
  EXPECT_EQ(offsetof(ReaderCounters, rejected), 104u);
}

TEST(Layout, GivesAReaderPageAPairOfWordsForEach64Slots) {
  EXPECT_EQ(claim_pairs(1), 1u);
  EXPECT_EQ(claim_pairs(64), 1u);
  EXPECT_EQ(claim_pairs(65), 2u);
  EXPECT_EQ(claim_pairs(kMaxSlots), 16'384u);
  EXPECT_EQ(reader_page_bytes(64), 1920u);
  EXPECT_EQ(reader_page_bytes(128), 1920u);  // two pairs share the hot line with the cursors
  EXPECT_EQ(reader_page_bytes(129), 1984u);
}

TEST(Layout, HasAWakePageOf2240BytesForAMemberOfAGroup) {
  EXPECT_EQ(sizeof(GroupWakePage), 2240u);
  EXPECT_EQ(offsetof(GroupWakePage, wake), 0u);
  EXPECT_EQ(offsetof(GroupWakePage, assignments.assigned), 128u);
  EXPECT_EQ(offsetof(GroupWakePage, assignments.finished), 136u);
  EXPECT_EQ(offsetof(GroupWakePage, ring), 192u);
  EXPECT_EQ(assignment_word(3, 0x81, 5), 0xe040'0000'0000'0005u);
  EXPECT_EQ(assigned_lane(0xe040'0000'0000'0005u), 3u);
  EXPECT_EQ(assigned_deliveries(0xe040'0000'0000'0005u), 0x81u);
  EXPECT_EQ(assigned_sequence(0xe07f'ffff'ffff'ffffu), (std::uint64_t{1} << 54) - 1);
  EXPECT_EQ(assigned_message(0xe040'0000'0000'0005u), 0xc000'0000'0000'0005u);
  EXPECT_EQ(load_word(2, 0xffff'ffff), 0x0000'0002'ffff'ffffu);
  EXPECT_EQ(load_state(0xffff'ff02'0000'0007u), 2u);
  EXPECT_EQ(load_backlog(0xffff'ff02'0000'0007u), 7u);
  EXPECT_EQ(static_cast<int>(DeliveryMode::group), 4);
}

TEST(Layout, HasAWakePageOfTwoLines) {
  EXPECT_EQ(sizeof(WakePage), 128u);
  EXPECT_EQ(offsetof(WakeLine, wake), 0u);
  EXPECT_EQ(offsetof(WakeLine, wants_room), 4u);
  EXPECT_EQ(offsetof(WakeLine, state), 8u);
  EXPECT_EQ(offsetof(WakeLine, cause), 12u);
  EXPECT_EQ(offsetof(WakeLine, reader_id), 16u);
  EXPECT_EQ(offsetof(AdmissionLine, stop), 32u);
}

TEST(Layout, HasReferencesOf24Bytes) {
  EXPECT_EQ(sizeof(Reference), 24u);
  EXPECT_EQ(offsetof(Reference, stream_id), 0u);
  EXPECT_EQ(offsetof(Reference, sequence), 8u);
  EXPECT_EQ(offsetof(Reference, slot), 16u);
  EXPECT_EQ(offsetof(Reference, lane), 20u);
  EXPECT_EQ(offsetof(ReferenceTrailer, references), 8u);
  EXPECT_EQ(trailer_bytes(0), 0u);
  EXPECT_EQ(trailer_bytes(1), 40u);
  EXPECT_EQ(trailer_bytes(kMaxReferences), 400u);
}

TEST(Layout, PacksSequenceLaneAndStateIntoASlotWord) {
  const std::uint64_t word = slot_word(0x1234, 3, SlotState::live);
  EXPECT_EQ(word, 0x1234'dull);
  EXPECT_EQ(with_state(word, SlotState::deciding), 0x1234'eull);
  EXPECT_EQ(with_state(word, SlotState::none), 0x1234'cull);
}

}  // namespace
}  // namespace sluice::shm
