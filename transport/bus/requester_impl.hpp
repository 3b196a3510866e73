// What stands behind a Requester: its calls, in slots of a fixed table.
//
//   free --start--> waiting --reply, or its end--> done --get/cancel--> free
//                     |  ^                           (a callback goes back to free at once)
//        may be tried |  | due
//              again  v  |
//                    delayed
//
// A call's number is (generation << 16 | slot), so that a reply that comes late meets another
// generation. What could not even be asked needs no slot: its number says why (kRefused, and the
// size above the reason where it was too large).
//
// A reply stays in its worker's memory as long as somebody has it: a call that is done, a callback
// that waits to be called, the program. All of them count against max_calls together with what is
// still outstanding (in_use), so there is always room for an answer to be taken.
#pragma once

#include "shm/stamp_clock.hpp"
#include "sluice/requester.hpp"
#include "transport/bus/message_publisher_impl.hpp"
#include "transport/bus/service.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

struct Requester::Impl {
  Impl(MessagePublisher to, MessageSubscriber from, RequesterOptions with, std::string name);

  enum class Refusal : std::uint8_t {
    unavailable,
    too_many,
    breaker_open,
    too_large,
    no_room,
    too_many_hops,
    no_right,
    too_late,
    rejected,
  };
  static constexpr std::uint64_t kRefused = std::uint64_t{1} << 63;
  static constexpr unsigned kReasonBits = 8;
  /// How long deadlines and workers are not looked at.
  static constexpr std::uint64_t kSliceNs = 10'000'000;
  static constexpr unsigned kSlotBits = 16;
  static constexpr std::uint64_t kSlotMask = (1u << kSlotBits) - 1;

  enum class Stage : std::uint8_t { free, waiting, delayed, done };
  struct Slot {
    Stage stage = Stage::free;
    std::uint64_t generation = 0;
    std::uint64_t deadline_ns = 0;
    std::uint64_t started_ns = 0;
    std::uint64_t due_ns = 0;  // delayed
    std::uint32_t attempt = 1;
    CallOptions options;
    CircuitBreaker::Permit permit;
    Reference request;
    bool may_repeat = false;  // then the two below are set
    std::vector<std::byte> copy;
    Context context;
    std::function<void(Reply)> answered;
    Reply reply;
  };

  struct Asked {
    std::uint64_t number = 0;
    Requester* requester = nullptr;  // where it was asked: here, or at the fallback
  };
  struct Opening {
    std::uint64_t now = 0;
    std::uint64_t deadline_ns = 0;
    CircuitBreaker::Permit permit;
    std::optional<Refusal> refusal;
  };
  using Callback = std::pair<std::function<void(Reply)>, Reply>;

  Asked start(Requester& self, std::span<const std::byte> request,
              const CallOptions& options) noexcept;
  Asked start(Requester& self, MessageLoan&& loan, const CallOptions& options) noexcept;
  Opening open(const CallOptions& options) noexcept;
  std::uint64_t launch(const Opening& opening, const CallOptions& options,
                       MessageLoan&& request) noexcept;
  void remember(Slot& slot, std::span<const std::byte> request) noexcept;
  /// Waits for room until the deadline; 0: the one that these options mean.
  MessageLoan loan(std::uint64_t bytes, const CallOptions& options,
                   std::uint64_t deadline_ns = 0) noexcept;

  /// Of a call that is not free; null for others.
  Slot* slot_of(std::uint64_t number) noexcept {
    const std::uint64_t index = number & kSlotMask;
    if (index >= slots.size()) return nullptr;
    Slot& slot = slots[static_cast<std::size_t>(index)];
    const bool same = slot.stage != Stage::free && slot.generation == number >> kSlotBits;
    return same ? &slot : nullptr;
  }
  bool ready(std::uint64_t number) noexcept;
  bool wait(std::uint64_t number, std::uint64_t deadline_ns) noexcept;
  Reply get(std::uint64_t number) noexcept;
  void cancel(std::uint64_t number) noexcept;

  /// Takes in what has arrived; how many calls ended.
  std::size_t pump() noexcept;
  /// The same, and looks at the clock, at workers, at what is due. When something is due next.
  std::uint64_t tend(std::size_t& ended) noexcept;
  void expect_callbacks();
  void call_back_later(std::uint64_t number, std::function<void(Reply)> answered) noexcept;
  void call_back();
  std::size_t step(std::uint64_t deadline_ns);

  [[nodiscard]] std::uint64_t deadline_of(const CallOptions& options,
                                          std::uint64_t now) const noexcept;
  bool has_worker(std::uint64_t deadline_ns) noexcept;
  /// Somebody is about to attach, by the word of a broker that is there.
  [[nodiscard]] bool expects_worker() noexcept;
  /// Nobody is there who takes what is new, and nobody is about to come. Who drains may still have
  /// something.
  [[nodiscard]] bool deserted() noexcept;
  /// Calls that are not answered, and replies that somebody keeps.
  [[nodiscard]] std::size_t in_use() noexcept {
    return slots.size() - vacant.size() - done + static_cast<std::size_t>(replies.stream().held());
  }
  std::uint64_t occupy() noexcept;
  Slot& at(std::uint64_t number) noexcept;
  [[nodiscard]] std::uint64_t number_of(const Slot& slot) const noexcept;
  void vacate(std::uint64_t number) noexcept;
  Outcome ask(Slot& slot, std::uint64_t number, MessageLoan&& loan) noexcept;
  Outcome ask_again(Slot& slot, std::uint64_t number) noexcept;
  /// Makes the attempt that is due; no_room where it has to be made later.
  void repeat(Slot& slot, std::uint64_t now, bool& no_room) noexcept;
  static Refusal refusal_of(Outcome outcome) noexcept;
  [[nodiscard]] Status sentence_of(Refusal refusal, std::uint64_t bytes) const;
  [[nodiscard]] std::string breaker_says() const;
  [[nodiscard]] Status status_of(Refusal refusal, std::uint64_t bytes = 0) const noexcept;
  [[nodiscard]] Status lost(StatusCode code, std::string_view before,
                            std::string_view after) const noexcept;
  std::uint64_t refuse(Refusal refusal) noexcept;
  void receive(Message&& message) noexcept;
  void end(Slot& slot, Reply&& reply, std::uint64_t now) noexcept;
  bool take_interrupt() noexcept;
  bool try_later(Slot& slot, const Status& status, std::uint64_t now) noexcept;
  void withdraw(const Slot& slot) noexcept;

  MessagePublisher requests;
  MessageSubscriber replies;
  RequesterOptions options;
  std::string service;
  std::unique_ptr<Requester> fallback;
  CircuitBreaker breaker;
  RetryPolicy retry;
  Counts counts;
  std::vector<Slot> slots;
  std::vector<std::uint32_t> vacant;
  std::size_t done = 0;             // slots whose answer nobody has fetched
  std::uint64_t refused_bytes = 0;  // of the loan that was too large last
  std::uint64_t next_generation = 1;
  std::uint64_t chance = 0;     // of the jitter: a generator's state
  std::size_t ended_calls = 0;  // since the counter was looked at last
  std::vector<Callback> callbacks;
  std::size_t called_back = 0;  // of those, from the front
  shm::StampClock clock;  // deadlines of calls, and when they were made
  std::atomic<bool> interrupted{false};
};

}  // namespace sluice
