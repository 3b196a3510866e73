// Chained holds: a message holds frames, and whoever takes it finds them in place, stages later.
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace sluice::shm {
namespace {

using namespace test;

StreamOptions frames_of(std::uint32_t depth) {
  StreamOptions options = small_stream(depth);
  options.label = "frames";
  options.max_loans = depth;
  options.pools = {{64, 12}};
  return options;
}
StreamOptions events_of(std::uint32_t depth, std::uint32_t max_references) {
  StreamOptions options = small_stream(depth);
  options.label = "events";
  options.max_references = max_references;
  return options;
}

// A camera, a detector that takes frames and publishes events about them, and a viewer of both.
class Chain : public testing::Test {
 protected:
  explicit Chain(std::uint32_t event_depth = 2)
      : frames_(frames_of(16)),
        events_(events_of(event_depth, 2)),
        detector_(frames_.attach({.max_held = 4})),
        frame_view_(frames_.attach({.max_held = 2})),
        viewer_(events_.attach({.max_held = 2})) {}

  void camera(std::uint64_t number) {
    ASSERT_EQ(publish_number(frames_.publisher(), number), Outcome::ok);
  }
  // Publishes an event that holds the next frame.
  void detect(std::uint64_t number) {
    Loan event = events_.publisher().loan(16);
    ASSERT_TRUE(event);
    write_number(event.data(), 16, number);
    ASSERT_EQ(event.attach(detector_->take()), Outcome::ok);
    ASSERT_EQ(events_.publisher().publish(std::move(event)), Outcome::ok);
  }
  // Uses the ring again and again, then writes into every slot that is free.
  void flood_frames() {
    for (std::uint64_t i = 1000; i < 1050; ++i) camera(i);
    std::vector<Loan> loans;
    for (;;) {
      Loan loan = frames_.publisher().loan(64);
      if (!loan) break;
      write_number(loan.data(), 64, 9999);
      loans.push_back(std::move(loan));
    }
    ASSERT_GE(loans.size(), 6u);
  }

  LocalLink frames_;
  LocalLink events_;
  ReaderPtr detector_;
  ReaderPtr frame_view_;
  ReaderPtr viewer_;
};

TEST_F(Chain, ResolvesToTheSameBytesAfterTheFramesEntryWasUsedAgain) {
  camera(7);
  detect(70);
  flood_frames();
  const Sample event = viewer_->take();
  ASSERT_EQ(event.reference_count(), 1u);
  const Sample frame = frame_view_->resolve(event.reference_at(0));
  ASSERT_TRUE(frame) << to_string(frame.outcome());
  EXPECT_EQ(number_of(frame), 7u);
  EXPECT_EQ(frame.info().sequence, 1u);
  EXPECT_NE(frame.info().publish_ns, 0u);
  EXPECT_EQ(frame.reference(), event.reference_at(0));
}

TEST_F(Chain, CarriesTheFramesHeaders) {
  Loan loan = frames_.publisher().loan(24);
  write_number(loan.data(), 24, 5);
  loan.headers.correlation = {1, 2};
  loan.headers.origin_ns = 3;
  loan.headers.type_hash = 4;
  loan.headers.ttl_ms = 60'000;
  loan.headers.user_flags = 5;
  frames_.publisher().publish(std::move(loan));
  detect(50);
  flood_frames();
  const Sample event = viewer_->take();
  const Sample frame = frame_view_->resolve(event.reference_at(0));
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame.size(), 24u);
  EXPECT_EQ(frame.info().correlation, (CorrelationId{1, 2}));
  EXPECT_EQ(frame.info().origin_ns, 3u);
  EXPECT_EQ(frame.info().type_hash, 4u);
  EXPECT_EQ(frame.info().ttl_ms, 60'000u);
  EXPECT_EQ(frame.info().user_flags, 5u);
  EXPECT_EQ(frame.info().priority, Priority::critical);
}

TEST_F(Chain, ExpiresOnlyWhenNobodyHoldsTheFrame) {
  camera(7);
  detect(70);
  flood_frames();
  Sample event = viewer_->take();
  const Reference reference = event.reference_at(0);
  Sample frame = frame_view_->resolve(reference);
  ASSERT_TRUE(frame);
  event.release();
  events_.publisher().collect();  // the event is gone, and its hold with it
  flood_frames();
  EXPECT_EQ(number_of(frame), 7u) << "but we hold the frame ourselves now";
  const Sample again = frame_view_->resolve(reference);
  EXPECT_EQ(number_of(again), 7u);
}

TEST_F(Chain, ExpiresWhenTheEventIsGone) {
  camera(7);
  detect(70);
  const Reference reference = viewer_->take().reference_at(0);
  events_.publisher().collect();
  flood_frames();
  EXPECT_EQ(frame_view_->resolve(reference).outcome(), Outcome::expired);
  EXPECT_EQ(value(frame_view_->counters().unresolved), 1u);
  EXPECT_EQ(frame_view_->held(), 0u);
}

TEST_F(Chain, NeverResolvesToAnotherFrameInTheSameSlot) {
  camera(7);
  detect(70);
  const Reference stale = viewer_->take().reference_at(0);
  events_.publisher().collect();
  flood_frames();
  for (std::uint32_t slot = 0; slot < frames_.publisher().geometry().slot_limit; ++slot) {
    Reference reference = stale;
    reference.slot = slot;
    EXPECT_EQ(frame_view_->resolve(reference).outcome(), Outcome::expired);
  }
}

TEST_F(Chain, ResolvesTheSameFrameSeveralTimes) {
  camera(7);
  detect(70);
  flood_frames();
  Sample event = viewer_->take();
  const Reference reference = event.reference_at(0);
  Sample one = frame_view_->resolve(reference);
  Sample two = frame_view_->resolve(reference);
  EXPECT_EQ(one.data(), two.data());
  EXPECT_EQ(frame_view_->held(), 2u);
  EXPECT_EQ(frame_view_->resolve(reference).outcome(), Outcome::quota);
  event.release();
  events_.publisher().collect();
  one.release();
  flood_frames();
  EXPECT_EQ(number_of(two), 7u) << "the second claim keeps it";
  two.release();
  flood_frames();
  EXPECT_EQ(frame_view_->resolve(reference).outcome(), Outcome::expired);
}

TEST_F(Chain, LetsATakenAndAResolvedSampleOfOneSlotEndInAnyOrder) {
  for (const bool taken_first : {true, false}) {
    while (detector_->take()) {
    }
    while (frame_view_->take()) {
    }
    camera(7);
    Sample taken = frame_view_->take();
    Sample resolved = frame_view_->resolve(taken.reference());
    ASSERT_EQ(number_of(resolved), 7u);
    (taken_first ? taken : resolved).release();
    flood_frames();
    EXPECT_EQ(number_of(taken_first ? resolved : taken), 7u);
  }
}

TEST_F(Chain, CountsResolvedSamplesAgainstTheQuota) {
  camera(7);
  detect(70);
  const Sample event = viewer_->take();
  const Sample one = frame_view_->resolve(event.reference_at(0));
  const Sample two = frame_view_->resolve(event.reference_at(0));
  EXPECT_EQ(frame_view_->take().outcome(), Outcome::quota);
  EXPECT_EQ(value(frame_view_->counters().resolved), 2u);
}

TEST_F(Chain, RefusesReferencesOfAnotherStream) {
  camera(7);
  detect(70);
  const Sample event = viewer_->take();
  EXPECT_EQ(viewer_->resolve(event.reference_at(0)).outcome(), Outcome::mismatch);
  EXPECT_EQ(frame_view_->resolve(event.reference()).outcome(), Outcome::mismatch);
  EXPECT_EQ(frame_view_->resolve(Reference{}).outcome(), Outcome::mismatch);
}

TEST_F(Chain, RefusesReferencesThatPointOutside) {
  camera(7);
  const Sample frame = detector_->take();
  const Reference good = frame.reference();
  const auto outcome = [&](auto change) {
    Reference reference = good;
    change(reference);
    return frame_view_->resolve(reference).outcome();
  };
  EXPECT_EQ(outcome([](Reference&) {}), Outcome::ok);
  EXPECT_EQ(outcome([](Reference& r) { r.slot = 0xffff'ffff; }), Outcome::expired);
  EXPECT_EQ(outcome([&](Reference& r) { r.slot = frames_.publisher().geometry().slot_limit; }),
            Outcome::expired);
  EXPECT_EQ(outcome([](Reference& r) { r.lane = 1; }), Outcome::expired);
  EXPECT_EQ(outcome([](Reference& r) { r.lane = 0x8000'0000; }), Outcome::expired);
  EXPECT_EQ(outcome([](Reference& r) { r.sequence = 0; }), Outcome::expired);
  EXPECT_EQ(outcome([](Reference& r) { ++r.sequence; }), Outcome::expired);
  EXPECT_EQ(outcome([](Reference& r) { r.sequence |= std::uint64_t{1} << 60; }), Outcome::expired);
  EXPECT_EQ(frame_view_->held(), 0u);
}

TEST_F(Chain, HoldsAsManyFramesAsTheStreamAllows) {
  for (std::uint64_t i = 1; i <= 2; ++i) camera(i);
  Sample one = detector_->take();
  Sample two = detector_->take();
  camera(3);
  Sample three = detector_->take();
  Loan event = events_.publisher().loan(9);  // the references follow at the next multiple of eight
  write_number(event.data(), 9, 70);
  EXPECT_EQ(event.attach(Sample{}), Outcome::empty);
  EXPECT_EQ(event.attach(std::move(one)), Outcome::ok);
  EXPECT_EQ(event.attach(std::move(two)), Outcome::ok);
  EXPECT_EQ(event.attach(std::move(three)), Outcome::full);
  EXPECT_TRUE(three) << "what was not attached is still ours";
  events_.publisher().publish(std::move(event));
  const Sample seen = viewer_->take();
  EXPECT_EQ(number_of(seen), 70u);
  ASSERT_EQ(seen.reference_count(), 2u);
  EXPECT_EQ(number_of(frame_view_->resolve(seen.reference_at(0))), 1u);
  EXPECT_EQ(number_of(frame_view_->resolve(seen.reference_at(1))), 2u);
  EXPECT_EQ(seen.reference_at(2), Reference{});
}

TEST_F(Chain, IsRefusedByAStreamWithoutRoomForReferences) {
  camera(7);
  Loan loan = frames_.publisher().loan(8);
  Sample frame = detector_->take();
  EXPECT_EQ(loan.attach(std::move(frame)), Outcome::full);
  EXPECT_TRUE(frame);
  Loan empty;
  EXPECT_EQ(empty.attach(std::move(frame)), Outcome::empty);
}

TEST_F(Chain, LetsGoWhenALoanIsGivenBack) {
  camera(7);
  {
    Loan event = events_.publisher().loan(8);
    ASSERT_EQ(event.attach(detector_->take()), Outcome::ok);
    EXPECT_EQ(detector_->held(), 1u);
  }
  EXPECT_EQ(detector_->held(), 0u);
}

TEST_F(Chain, LetsGoOfFramesWhoseEventsAllHavePassed) {
  for (std::uint64_t i = 0; i < 100; ++i) {
    camera(i);
    detect(i);
    const Sample event = viewer_->take();
    ASSERT_EQ(number_of(frame_view_->resolve(event.reference_at(0))), i);
  }
  EXPECT_LE(detector_->held(), 3u);
  events_.publisher().collect();
  EXPECT_EQ(detector_->held(), 0u);
}

TEST_F(Chain, OutlivesTheDetector) {
  camera(7);
  detect(70);
  detector_.reset();
  flood_frames();
  const Sample event = viewer_->take();
  EXPECT_EQ(number_of(frame_view_->resolve(event.reference_at(0))), 7u);
}

TEST_F(Chain, ResolvesNothingForAnEvictedReader) {
  camera(7);
  const Sample frame = detector_->take();
  frames_.publisher().detach(frames_.last_reader_id());
  EXPECT_EQ(frame_view_->resolve(frame.reference()).outcome(), Outcome::evicted);
  EXPECT_EQ(frame_view_->held(), 0u);
}

TEST_F(Chain, GoesOnAfterThePublisherOfTheFramesHasGone) {
  camera(7);
  detect(70);
  frames_.close_publisher();
  const Sample event = viewer_->take();
  EXPECT_EQ(number_of(frame_view_->resolve(event.reference_at(0))), 7u);
}

TEST(SlotWords, InTheMiddleOfADecisionMakeResolvingGiveUp) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  publish_number(link.publisher(), 7);
  const Sample sample = reader->take();
  const Reference reference = sample.reference();
  auto* control = const_cast<std::byte*>(link.publisher().control());
  auto* records = reinterpret_cast<SlotRecord*>(control + link.publisher().geometry().slots_offset);
  Word64& word = records[reference.slot].word;
  const std::uint64_t live = word.load();
  word.store(with_state(live, SlotState::deciding));
  EXPECT_EQ(reader->resolve(reference).outcome(), Outcome::timeout);
  // The publisher decides while we wait, or too late, where the machine is loaded.
  Outcome outcome = Outcome::timeout;
  for (int round = 0; round < 500 && outcome == Outcome::timeout; ++round) {
    word.store(with_state(live, SlotState::deciding));
    const std::jthread publisher([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      word.store(with_state(live, SlotState::none));
    });
    outcome = reader->resolve(reference).outcome();
  }
  EXPECT_EQ(outcome, Outcome::expired);
  word.store(live);
  EXPECT_EQ(number_of(reader->resolve(reference)), 7u);
}

TEST(SlotWords, WithALyingSizeExpire) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  publish_number(link.publisher(), 7);
  const Sample sample = reader->take();
  auto* control = const_cast<std::byte*>(link.publisher().control());
  auto* records = reinterpret_cast<SlotRecord*>(control + link.publisher().geometry().slots_offset);
  records[sample.reference().slot].bytes.store(65);
  EXPECT_EQ(reader->resolve(sample.reference()).outcome(), Outcome::expired);
  EXPECT_EQ(reader->held(), 1u);
}

TEST(Trailers, ThatLieAboutTheirCountAreCutDown) {
  LocalLink frames(frames_of(2));
  LocalLink events(events_of(2, 2));
  const ReaderPtr detector = frames.attach({});
  const ReaderPtr viewer = events.attach({});
  publish_number(frames.publisher(), 1);
  Loan event = events.publisher().loan(8);
  std::byte* data = event.data();
  ASSERT_EQ(event.attach(detector->take()), Outcome::ok);
  events.publisher().publish(std::move(event));
  const Sample seen = viewer->take();
  const std::uint32_t count = 0xffff'ffff;
  std::memcpy(data + 8, &count, sizeof count);
  EXPECT_EQ(seen.reference_count(), 2u);
}

}  // namespace
}  // namespace sluice::shm
