// The shared layout, version 4. docs/shm_format.md is its normative description; this file and that
// one change together, with kLayoutVersion.
//
// Every segment has one writer; every 64-byte line has one writer; nothing here is a pointer, a
// lock or a count that two processes change. All words that change after the segment was handed
// out are atomics without padding inside; 32-bit and 64-bit processes see the same bytes.
//
//   control segment (publisher writes)           one pool (publisher writes)
//   +--------------------------------+ 0         +-----------------------+ 0
//   | ControlHeader      never again |           | slot first_slot       |
//   +--------------------------------+ 576       +-----------------------+ slot_bytes
//   | StateLine          seldom      |           | slot first_slot + 1   |
//   | HeadLine           per publish |           | ...                   |
//   | PublisherCounters  per publish |           +-----------------------+
//   | SourceLine         seldom      |
//   | Histogram intervals, ages      |
//   +--------------------------------+ lanes[i].ring_offset
//   | Entry[ring_entries]  per lane  |           wake page (publisher writes), 128 bytes
//   +--------------------------------+           +-----------------------+ 0
//   | SlotRecord[slot_limit]         |           | WakeLine              |
//   +--------------------------------+           | AdmissionLine         |
//                                                +-----------------------+
//                                                | AssignmentLine        |  only for a member
//                                                | assignment[256]       |  of a group
//                                                +-----------------------+
//   reader page (reader writes)
//   +--------------------------------+ 0
//   | IdentityLine       at attach   |
//   | SleepLine          when idle   |
//   | ReaderCounters     per take    |
//   | Histogram age, processing, all |
//   | ProgressLine       per take    |  of who acknowledges
//   +--------------------------------+ kReaderHotOffset
//   | cursor[4]          per take    |
//   | ClaimWord[]        per take    |  pair of words for each 64 slots
//   +--------------------------------+
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "sluice/message.hpp"
#include "sluice/options.hpp"

namespace sluice::shm {

inline constexpr std::size_t kCacheLine = 64;
inline constexpr std::uint64_t kMagic = 0x3130'4543'4955'4c53;  // "SLUICE01" in memory
inline constexpr std::uint32_t kLayoutVersion = 4;

using Word32 = std::atomic<std::uint32_t>;
using Word64 = std::atomic<std::uint64_t>;
static_assert(Word64::is_always_lock_free && Word32::is_always_lock_free,
              "the shared words need lock-free atomics; on 32-bit Arm build for armv7-a or later");
static_assert(sizeof(Word64) == 8 && alignof(Word64) == 8, "no hidden lock or padding in a word");
static_assert(sizeof(Word32) == 4 && alignof(Word32) == 4, "no hidden lock or padding in a word");
#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the shared layout is little-endian"
#endif

// --- control segment ------------------------------------------------------------------------------

struct LaneRecord {
  std::uint64_t ring_offset;   // from the start of the control segment, 64-byte aligned
  std::uint32_t depth;         // entries that may be live
  std::uint32_t ring_entries;  // power of two, >= depth
  std::uint32_t history;
  std::uint32_t reserved0;
  std::uint64_t reserved1;
};
static_assert(sizeof(LaneRecord) == 32);

struct PoolRecord {
  std::uint64_t pool_bytes;
  std::uint64_t slot_bytes;  // distance of slots; the usable size is slot_bytes - trailer_bytes
  std::uint32_t first_slot;  // slots are numbered through all pools
  std::uint32_t slot_count;
  std::uint32_t flags;  // kPoolForeign
  std::uint32_t reserved;
};
static_assert(sizeof(PoolRecord) == 32);

/// Memory of another system: no slots, not sealed, at least pool_bytes long. Messages name places
/// in it (ForeignPlace).
inline constexpr std::uint32_t kPoolForeign = 1;

/// Written before the segment is handed out, never again but for the records of pools that come
/// later. A reader copies it once, validates the copy (see geometry.hpp) and uses only that.
struct ControlHeader {
  std::uint64_t magic;
  std::uint32_t layout_version;
  std::uint32_t header_bytes;  // sizeof(ControlHeader)
  std::uint64_t stream_id;     // random, not 0
  std::uint64_t created_ns;    // CLOCK_REALTIME
  std::uint64_t control_bytes;
  std::uint64_t type_hash;
  std::uint32_t lane_count;
  std::uint32_t pool_count;  // at creation; StateLine::pool_count may grow
  std::uint32_t slot_limit;  // no slot number ever reaches this; sizes claim words
  std::uint32_t max_readers;

  std::uint64_t slots_offset;  // of SlotRecord[slot_limit]
  std::uint32_t publisher_pid;
  std::uint32_t max_references;
  std::uint32_t flags;  // kStreamStamped, kStreamSensitive
  std::uint32_t trailer_bytes;
  std::uint64_t reserved[5];

  LaneRecord lanes[kMaxLanes];
  PoolRecord pools[kMaxPools];
  char label[64];  // UTF-8, ends with NUL
};
static_assert(sizeof(ControlHeader) == 576 && sizeof(ControlHeader) % kCacheLine == 0);
static_assert(offsetof(ControlHeader, lanes) == 128 && offsetof(ControlHeader, pools) == 256);

inline constexpr std::uint32_t kStreamStamped = 1;
inline constexpr std::uint32_t kStreamSensitive = 2;  // payloads are wiped; nobody keeps them

enum class StreamState : std::uint32_t { live = 1, ended = 2 };

struct alignas(kCacheLine) StateLine {
  Word32 state;       // StreamState
  Word32 pool_count;  // pools whose records are valid
  Word32 reader_count;
  Word32 revoked_pools;  // bit i: what lies in foreign pool i is there no more
  Word32 reserved[12];
};
static_assert(sizeof(StateLine) == kCacheLine);

struct alignas(kCacheLine) HeadLine {
  Word64 head[kMaxLanes];  // sequence published last; 0: none
  Word64 tail[kMaxLanes];  // oldest sequence that is not retired
};
static_assert(sizeof(HeadLine) == kCacheLine);

struct alignas(kCacheLine) PublisherCounters {
  Word64 published;  // messages
  Word64 bytes;
  Word64 last_publish_ns;
  Word64 wakes;        // system calls made to wake a reader
  Word64 overwritten;  // entries retired although a best-effort reader had not passed them
  Word64 no_slot;      // loans that found no slot
  Word64 full;         // loans refused because of a reliable reader
  Word64 full_waits;   // loans that had to wait

  Word64 evicted;  // readers
  Word64 slots_committed;
  Word64 slots_in_use;  // live, loaned or set aside
  Word64 slots_in_use_most;
  Word64 set_aside;  // retired but still claimed
  Word64 looks;      // times the reader pages were looked at
  Word64 dropped;    // entries that were for a group and that nobody of it has dealt with
  Word64 jitter_ns;  // of the intervals between publications, as RFC 3550 (6.4.1) has it
};
static_assert(sizeof(PublisherCounters) == 2 * kCacheLine);

/// What the producer says of where its data comes from: SourceInfo. Each word stands for itself.
struct alignas(kCacheLine) SourceLine {
  Word64 expected_interval_ns;
  Word64 gaps;
  Word64 reconnects;
  Word64 copies;
  Word64 dropped;
  Word64 fourcc;  // low 32 bits
  Word64 size;    // width (low 32 bits), height (high 32 bits)
  Word64 reserved;
};
static_assert(sizeof(SourceLine) == kCacheLine);

/// Log-linear: bucket 0 counts below 64 ns, then four buckets per power of two up to 2^38 ns, the
/// last one everything above. Relative error of a quantile at most 12.5 %. Before a bucket would
/// overflow its writer halves all of them, or counts there no more.
inline constexpr std::size_t kHistogramBuckets = 128;
struct alignas(kCacheLine) Histogram {
  Word32 count[kHistogramBuckets];
};
static_assert(sizeof(Histogram) == 512);

/// One ring entry. `sequence` is s when message s is published in it and s | kRetired once it is
/// retired; 0: never used. All other words are valid only between two equal reads of `sequence`.
inline constexpr std::uint64_t kRetired = std::uint64_t{1} << 63;
struct alignas(kCacheLine) Entry {
  Word64 sequence;
  Word64 publish_ns;
  Word64 origin_ns;
  Word64 correlation_high;
  Word64 correlation_low;
  Word64 type_hash;
  Word64 place;  // slot (low 32 bits), payload bytes (high 32 bits)
  Word64 meta;   // flags 8 | priority 8 | assignee 16 | ttl_ms 32, from the low end
};
static_assert(sizeof(Entry) == kCacheLine);
static_assert(sizeof(Entry) <= 100, "requirement M3: a header of at most 100 bytes per message");

inline constexpr std::uint8_t kEntryHasReferences = 0x10;  // low four bits are the user's
inline constexpr std::uint8_t kEntryForeign = 0x20;        // the slot holds a ForeignPlace
inline constexpr std::uint8_t kEntryHasUserHeader = 0x40;
inline constexpr std::uint8_t kEntryContents =
    kEntryHasReferences | kEntryForeign | kEntryHasUserHeader;
inline constexpr std::uint16_t kEveryone = 0xffff;         // assignee: all readers

/// A slot word says whose payload the slot holds: (sequence << 4 | lane << 2 | SlotState).
enum class SlotState : std::uint32_t {
  none = 0,      // free, loaned, or gone: references to it have expired
  live = 1,      // holds this message, whether its entry is still in the ring or not
  deciding = 2,  // the publisher is looking whether anybody holds it; becomes live or none
};
constexpr std::uint64_t slot_word(std::uint64_t sequence, std::uint32_t lane, SlotState state) {
  return sequence << 4 | std::uint64_t{lane} << 2 | static_cast<std::uint64_t>(state);
}
constexpr std::uint64_t with_state(std::uint64_t word, SlotState state) {
  return (word & ~std::uint64_t{3}) | static_cast<std::uint64_t>(state);
}

/// One per slot. All words but `word` are written before it and stay while the slot is claimed, so
/// that a message can be resolved after its ring entry was used again.
struct alignas(kCacheLine) SlotRecord {
  Word64 word;  // slot_word()
  Word64 bytes;
  Word64 publish_ns;
  Word64 origin_ns;
  Word64 correlation_high;
  Word64 correlation_low;
  Word64 type_hash;
  Word64 meta;  // as in Entry
};
static_assert(sizeof(SlotRecord) == kCacheLine);

// What lies in a slot, each at the next multiple of 8:
//
//   payload, or ForeignPlace | UserHeader | ReferenceTrailer

/// Instead of the payload: where it is. The size in the entry is then that of this structure.
struct ForeignPlace {
  std::uint32_t pool;
  std::uint32_t reserved;
  std::uint64_t offset;  // from the start of the pool
  std::uint64_t bytes;
};
static_assert(sizeof(ForeignPlace) == 24);

/// Bytes that the publisher's program says beside the payload.
struct UserHeader {
  std::uint32_t bytes;
  std::uint32_t reserved;
  // `bytes` of them follow
};
static_assert(sizeof(UserHeader) == 8);

/// Ends a slot whose message holds references.
struct ReferenceTrailer {
  std::uint32_t count;
  std::uint32_t reserved;
  Reference references[1];  // `count` of them
};
inline constexpr std::uint32_t kMaxReferences = 16;
constexpr std::uint32_t trailer_bytes(std::uint32_t max_references) {
  return max_references == 0
             ? 0
             : 8 + 8 + max_references * static_cast<std::uint32_t>(sizeof(Reference));
}

inline constexpr std::uint64_t kStateOffset = sizeof(ControlHeader);
inline constexpr std::uint64_t kHeadOffset = kStateOffset + sizeof(StateLine);
inline constexpr std::uint64_t kPublisherCountersOffset = kHeadOffset + sizeof(HeadLine);
inline constexpr std::uint64_t kSourceOffset = kPublisherCountersOffset + sizeof(PublisherCounters);
inline constexpr std::uint64_t kIntervalsOffset = kSourceOffset + sizeof(SourceLine);
inline constexpr std::uint64_t kPublishAgesOffset = kIntervalsOffset + sizeof(Histogram);
inline constexpr std::uint64_t kRingsOffset = kPublishAgesOffset + sizeof(Histogram);
static_assert(kRingsOffset == 1920 && kRingsOffset % kCacheLine == 0);

// --- reader page -----------------------------------------------------------------------------------

enum class ReaderState : std::uint32_t {
  none = 0,
  active = 1,
  leaving = 2,  // takes nothing more; its claims still count
  gone = 3,     // holds nothing; the publisher may drop the page
};

struct alignas(kCacheLine) IdentityLine {
  Word32 mode;  // DeliveryMode
  Word32 max_held;
  Word32 pid;
  Word32 reserved0;
  Word64 stream_id;
  Word64 claim_pairs;  // number of ClaimPair behind the cursors
  Word64 attached_ns;  // CLOCK_MONOTONIC
  Word64 reserved[3];
};
static_assert(sizeof(IdentityLine) == kCacheLine);

/// What the publisher reads at every publish and every look; it changes only when this reader goes to
/// sleep or ends.
struct alignas(kCacheLine) SleepLine {
  /// 0: awake. Otherwise a ticket, new for every sleep; bit 0 asks for the eventfd, not the futex.
  Word32 sleep;
  /// The publisher sleeps on this word while it waits for this reader to acknowledge.
  Word32 room;
  Word32 state;  // ReaderState
  Word32 reserved[13];
};
static_assert(sizeof(SleepLine) == kCacheLine);
inline constexpr std::uint32_t kWakeByEvent = 1;
inline constexpr std::uint32_t kTicketStep = 2;

/// Why an entry was not taken.
enum class LossCause : std::uint32_t {
  policy = 0,   // skipped because a newer one was there (latest)
  full = 1,     // overwritten before it was taken (next)
  evicted = 2,  // published up to the moment of eviction, not taken
  expired = 3,  // its time to live had passed
  invalid = 4,  // its descriptor failed validation
};
inline constexpr std::size_t kLossCauses = 5;

struct alignas(kCacheLine) ReaderCounters {
  Word64 taken;
  Word64 lost[kLossCauses];
  Word64 bytes;
  Word64 acknowledged;

  Word64 resolved;  // references
  Word64 unresolved;
  Word64 sleeps;  // waits that went to sleep
  Word64 quota;   // takes refused because max_held was reached
  Word64 last_take_ns;
  Word64 rejected;  // assignments that were given back
  Word64 reserved[2];
};
static_assert(sizeof(ReaderCounters) == 2 * kCacheLine);

/// How far who acknowledges has come, apart from the hot line: the publisher reads it when it is
/// asked what became of a message, and when a member of a group goes.
struct alignas(kCacheLine) ProgressLine {
  // Reliable: all below are taken, or will never be. A group's member instead: in [0] how many of
  // its assignments, from the first on, it began to take; 0 in the others.
  Word64 taken[kMaxLanes];
  // A group's member: bit n modulo kMaxCredits says that assignment n was rejected. Valid when
  // cursor[0] has passed n.
  Word64 returned[kMaxCredits / 64];
};
static_assert(sizeof(ProgressLine) == kCacheLine);
static_assert(kMaxCredits == 256, "one bit of ProgressLine::returned for each");

/// Claims of 64 slots. Two words, since a taken and a resolved sample of one slot may exist side by
/// side and end in any order.
struct ClaimPair {
  Word64 taken;
  Word64 resolved;
};
static_assert(sizeof(ClaimPair) == 16);

struct ReaderPage {
  IdentityLine identity;
  SleepLine sleeping;
  ReaderCounters counters;
  Histogram age;         // publish to take, ns
  Histogram processing;  // take to release, ns
  Histogram end_to_end;  // origin to release, ns
  ProgressLine progress;
  // Hot line: the only one that a busy reader and a looking publisher share.
  // All below are passed: taken or lost, and acknowledged if reliable. A group's member instead: in
  // [0] how many of its assignments, from the first on, are settled; in [1] its load_word(); 0 in
  // the others.
  Word64 cursor[kMaxLanes];
  // ClaimPair claims[identity.claim_pairs] follow; the first two are still on the hot line.
};
inline constexpr std::uint64_t kReaderHotOffset = offsetof(ReaderPage, cursor);
inline constexpr std::uint64_t kClaimsOffset = kReaderHotOffset + sizeof(Word64) * kMaxLanes;
static_assert(kReaderHotOffset == 1856 && kReaderHotOffset % kCacheLine == 0);

/// What a group's member says of itself: how much waits there (low 32 bits), WorkerState (8 bits).
constexpr std::uint64_t load_word(std::uint32_t state, std::uint32_t backlog) {
  return std::uint64_t{state & 0xff} << 32 | backlog;
}
constexpr std::uint32_t load_state(std::uint64_t word) {
  return static_cast<std::uint32_t>(word >> 32) & 0xff;
}
constexpr std::uint32_t load_backlog(std::uint64_t word) {
  return static_cast<std::uint32_t>(word);
}

constexpr std::uint64_t claim_pairs(std::uint32_t slot_limit) {
  return (std::uint64_t{slot_limit} + 63) / 64;
}
constexpr std::uint64_t reader_page_bytes(std::uint32_t slot_limit) {
  return (kClaimsOffset + claim_pairs(slot_limit) * sizeof(ClaimPair) + kCacheLine - 1) &
         ~std::uint64_t{kCacheLine - 1};
}

// --- wake page -------------------------------------------------------------------------------------

enum class AdmissionState : std::uint32_t {
  none = 0,
  attached = 1,
  evicted = 2,
};
enum class EvictionCause : std::uint32_t {
  none = 0,
  too_slow = 1,  // OnFull::evict, or the wait ended
  quota = 2,     // more claims than max_held
  invalid = 3,   // its page held words that no reader writes
};

struct alignas(kCacheLine) WakeLine {
  Word32 wake;        // the futex word: the ticket of the sleep that was ended last
  Word32 wants_room;  // 0, or the ticket of a wait for this reader; bit 0: answer by the eventfd
  Word32 state;       // AdmissionState
  Word32 cause;       // EvictionCause
  Word32 reader_id;   // not 0; changes when the page gets another owner
  Word32 reserved[11];
};
static_assert(sizeof(WakeLine) == kCacheLine);

struct alignas(kCacheLine) AdmissionLine {
  Word64 start[kMaxLanes];  // first sequence of each lane that belongs to this subscription
  Word64 stop[kMaxLanes];   // valid when evicted: last sequence that belonged to it
};
static_assert(sizeof(AdmissionLine) == kCacheLine);

struct WakePage {
  WakeLine line;
  AdmissionLine admission;
};
static_assert(sizeof(WakePage) == 2 * kCacheLine);
inline constexpr std::uint32_t kAnswerByEvent = 1;  // in wants_room

struct alignas(kCacheLine) AssignmentLine {
  Word64 assigned;  // assignments made to this member since it was attached
  Word32 finished;  // 1: there will be none any more
  Word32 reserved[13];
};
static_assert(sizeof(AssignmentLine) == kCacheLine);

/// One assignment: lane 2 | deliveries before 8, 255 for all beyond | sequence 54, from the high
/// end.
constexpr std::uint64_t assignment_word(std::uint32_t lane, std::uint8_t deliveries,
                                        std::uint64_t sequence) {
  return std::uint64_t{lane} << 62 | std::uint64_t{deliveries} << 54 | sequence;
}
constexpr std::uint32_t assigned_lane(std::uint64_t word) {
  return static_cast<std::uint32_t>(word >> 62);
}
constexpr std::uint8_t assigned_deliveries(std::uint64_t word) {
  return static_cast<std::uint8_t>(word >> 54);
}
constexpr std::uint64_t assigned_sequence(std::uint64_t word) {
  return word & ((std::uint64_t{1} << 54) - 1);
}
/// Lane and sequence alone: which message it is.
constexpr std::uint64_t assigned_message(std::uint64_t word) {
  return assignment_word(assigned_lane(word), 0, assigned_sequence(word));
}

/// The wake page of a group's member. Assignment n (from 0) lies at n modulo kMaxCredits.
struct GroupWakePage {
  WakePage wake;
  AssignmentLine assignments;
  Word64 ring[kMaxCredits];
};
static_assert(sizeof(GroupWakePage) == 3 * kCacheLine + sizeof(Word64) * kMaxCredits);
static_assert(offsetof(GroupWakePage, assignments) == 128 && offsetof(GroupWakePage, ring) == 192);
static_assert((kMaxCredits & (kMaxCredits - 1)) == 0 && kMaxCredits <= 256,
              "a sample keeps the place of its assignment in one byte");

// Never read or write these structures except through mappings of verified segments.

}  // namespace sluice::shm
