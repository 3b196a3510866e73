// Options are plain structs with defaults; every number has its unit in its name.
#pragma once

#include "sluice/export.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

/// Limits of the shared layout; see docs/shm_format.md.
inline constexpr std::uint32_t kMaxLanes = 4;
inline constexpr std::uint32_t kMaxPools = 8;
inline constexpr std::uint32_t kMaxReaders = 1024;
inline constexpr std::uint32_t kMaxDepth = 65'536;
inline constexpr std::uint32_t kMaxSlots = 1u << 20;
inline constexpr std::uint64_t kMaxSlotBytes = std::uint64_t{256} << 20;
inline constexpr std::uint32_t kMaxCredits = 256;

/// The lane of a message. Lane 0 is taken first; every lane has its own capacity, so that a flood
/// in one never displaces another.
enum class Priority : std::uint8_t { critical = 0, high = 1, normal = 2, low = 3 };

/// What a subscription sees of a stream, and what happens when it is too slow.
enum class DeliveryMode : std::uint8_t {
  latest = 1,  ///< Always the newest entry; skips, and counts what it skipped.
  next = 2,    ///< Every entry in order; jumps to the oldest still there, and counts what it lost.
  reliable = 3,  ///< Every entry until it acknowledges; the publisher's OnFull decides.
  /// Each entry goes to one member of the named group, which acknowledges it. What a member had not
  /// acknowledged when it left or died goes to another one. Where nobody has a credit left the
  /// entry waits; the publisher's OnFull decides when its place is needed.
  group = 4,
};

/// "latest", …; "unknown" for what is none of them.
SLUICE_EXPORT const char* to_string(DeliveryMode mode) noexcept;

/// What a publisher does when a reliable reader, or a group, has not acknowledged the oldest entry
/// and its place is needed.
enum class OnFull : std::uint8_t {
  wait,  ///< Block in `loan` for up to `full_timeout_ns`, then `Outcome::full`.
  fail,  ///< `Outcome::full` at once.
  /// Evict the reader that is behind. What a member of a group had goes to the others, and is then
  /// behind there: when all of a group are too slow, all of it is evicted.
  evict,
  /// Wait for nobody, for cameras: the oldest entry is given up. Of what no member of a group has a
  /// credit for only the newest entries wait, one for each member; the others are not given to
  /// anybody (StreamStats::dropped). Reliable subscriptions are refused.
  drop,
};

/// Backing of the payload memory.
enum class HugePages : std::uint8_t {
  none,         ///< The system's ordinary pages.
  transparent,  ///< Ask for transparent huge pages; has an effect where shmem_enabled allows it.
  hugetlb,      ///< MFD_HUGETLB from the reserved huge page pool; creation fails when there are too
                ///< few.
};

/// One class of equally sized payload slots.
struct PoolOptions {
  std::uint64_t slot_bytes = 0;  ///< Largest payload of this pool, 1 to kMaxSlotBytes.
  /// Number of slots; 0: as many as can ever be in use at once (depths + max_loans + max_held).
  std::uint32_t slot_count = 0;
};

/// One priority lane: a ring of its own.
struct LaneOptions {
  std::uint32_t depth = 64;   ///< Entries that may wait in the lane, 1 to kMaxDepth.
  std::uint32_t history = 0;  ///< Newest entries kept for late joiners, at most `depth`.
};

/// Delivery modes that a publisher lets subscriptions have; another one is refused, at both ends.
struct OfferedModes {
  bool latest = true;
  bool next = true;
  bool reliable = true;  ///< Without this and `group` no subscriber can make this publisher wait.
  bool group = true;
};

/// A stream: what one publisher writes.
struct StreamOptions {
  std::string label{};                 ///< For people and tools; at most 63 bytes.
  std::vector<LaneOptions> lanes{{}};  ///< One to four; lanes[0] is Priority::critical's.
  std::vector<PoolOptions>
      pools{};  ///< One to eight, any order; loans take the smallest that fits.
  /// Slots in all pools at most, those that Publisher::add_pool may add included; 0: no more than
  /// the pools above have. Each costs 64 bytes of the stream's control segment, used or not.
  std::uint32_t max_slots = 0;
  std::uint32_t max_loans = 2;       ///< Loans outstanding at the same time.
  std::uint32_t max_held = 16;       ///< Sum over all readers of samples held at the same time.
  std::uint32_t max_readers = 64;    ///< Subscriptions at the same time, at most kMaxReaders.
  std::uint32_t max_references = 0;  ///< Frames that one message can hold by `attach`, at most 16.
  OnFull on_full = OnFull::wait;
  std::uint64_t full_timeout_ns = 1'000'000'000;
  /// How long the place of a durable group is kept while it has no member
  /// (SubscriptionOptions::durable).
  std::uint64_t durable_keep_ns = 60'000'000'000;
  /// Payloads are overwritten with zeros when nobody holds them any more, which the publisher finds
  /// out in its next call (`collect` when it is idle) and at its end, and no recorder ever gets them.
  /// The broker's configuration can ask for it too.
  bool sensitive = false;
  std::uint64_t type_hash = 0;  ///< Identity of the payload type; 0: untyped.
  bool commit_at_creation =
      false;                       ///< Commit all memory now instead of each slot at its first use.
  bool prefault = false;           ///< Commit now and map every page now as well.
  bool stamp_publish_time = true;  ///< Stamp every message (5 to 40 ns).
  HugePages huge_pages = HugePages::none;
  OfferedModes offered{};
  std::string type_name{};  ///< Of the payload type, for people.
};

/// The name of a group of subscriptions: 1 to 31 bytes. A longer text is kept as invalid, and
/// refused when the subscription attaches.
class GroupName {
 public:
  static constexpr std::size_t kMaxBytes = 31;

  constexpr GroupName() = default;
  constexpr GroupName(const char* text) : GroupName(std::string_view{text}) {}  // NOLINT: meant so
  constexpr GroupName(std::string_view text)  // NOLINT(google-explicit-constructor): meant so
      : size_(text.size() <= kMaxBytes ? static_cast<std::uint8_t>(text.size()) : kTooLong) {
    for (std::size_t i = 0; i < size() && valid(); ++i) text_[i] = text[i];
  }

  /// Not empty, and not cut off.
  [[nodiscard]] constexpr bool valid() const noexcept { return size_ != 0 && size_ <= kMaxBytes; }
  [[nodiscard]] constexpr std::string_view view() const noexcept {
    return valid() ? std::string_view{text_.data(), size()} : std::string_view{};
  }
  friend bool operator==(const GroupName&, const GroupName&) = default;

 private:
  static constexpr std::uint8_t kTooLong = 255;
  [[nodiscard]] constexpr std::size_t size() const noexcept { return size_; }
  std::array<char, kMaxBytes> text_{};
  std::uint8_t size_ = 0;
};
static_assert(sizeof(GroupName) == 32);

/// The group of whoever keeps messages on the disk, and acknowledges them then. To join it is a
/// right of its own in the broker's policy, `record`. Publishers of topics that the broker declares
/// durable keep its place from their first message on.
inline constexpr GroupName kRecorderGroup{"$recorder"};

/// One subscription to one stream.
struct SubscriptionOptions {
  DeliveryMode mode = DeliveryMode::next;
  std::uint32_t max_held = 4;  ///< Samples that may be held at the same time.
  std::uint32_t history = 0;   ///< Entries from before the attachment wanted, if still there.
  /// Longest busy wait before sleeping. Spinning adapts itself: where it does not pay it stops.
  std::uint64_t spin_ns = 20'000;
  std::uint64_t type_hash = 0;  ///< 0 accepts every type; otherwise it must equal the stream's.
  /// The subscriber's (or its wait set's) fd() will be polled; costs a descriptor at every
  /// publisher.
  bool pollable = false;
  GroupName group{};          ///< DeliveryMode::group: which one.
  std::uint32_t credits = 8;  ///< DeliveryMode::group: entries not acknowledged, 1 to kMaxCredits.
  /// DeliveryMode::group: publishers keep the group's place while it has no member, for
  /// StreamOptions::durable_keep_ns; who joins next goes on there. A group of one member is a
  /// durable subscription.
  bool durable = false;
  /// Keeps what it takes. Never gets a stream that is sensitive.
  bool recorder = false;
};

}  // namespace sluice
