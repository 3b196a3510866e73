// Who may read: admission, its refusals, eviction and farewell.
#include "tests/support/forged_reader.hpp"
#include "tests/support/local_link.hpp"
#include "tests/support/process_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <functional>
#include <thread>

namespace sluice::shm {
namespace {

using namespace test;

std::string refusal(const Result<ReaderPtr>& result) {
  if (result) return "(admitted)";
  EXPECT_EQ(result.error().code, Errc::refused);
  return result.error().message;
}

TEST(Admission, IsRefusedBeyondMaxReaders) {
  StreamOptions options = small_stream();
  options.max_readers = 2;
  LocalLink link(options);
  const ReaderPtr one = link.attach({.max_held = 1});
  ReaderPtr two = link.attach({.max_held = 1});
  EXPECT_NE(refusal(link.try_attach({.max_held = 1})).find("max_readers = 2"), std::string::npos);
  two.reset();
  link.publisher().reap();
  EXPECT_TRUE(link.try_attach({.max_held = 1}));
}

TEST(Admission, IsRefusedWhenTheSamplesToHoldDoNotFit) {
  StreamOptions options = small_stream();
  options.max_held = 5;
  LocalLink link(options);
  EXPECT_NE(refusal(link.try_attach({.max_held = 6})).find("max_held = 6"), std::string::npos);
  EXPECT_NE(refusal(link.try_attach({.max_held = 0})).find("max_held = 0"), std::string::npos);
  const ReaderPtr one = link.attach({.max_held = 3});
  const std::string sentence = refusal(link.try_attach({.max_held = 3}));
  EXPECT_NE(sentence.find("2 of the stream's max_held = 5"), std::string::npos) << sentence;
  EXPECT_TRUE(link.try_attach({.max_held = 2}));
}

TEST(Admission, IsRefusedForAnotherPayloadType) {
  StreamOptions options = small_stream();
  options.type_hash = 1;
  LocalLink link(options);
  EXPECT_NE(refusal(link.try_attach({.type_hash = 2})).find("type"), std::string::npos);
  EXPECT_TRUE(link.try_attach({.type_hash = 1}));
  EXPECT_TRUE(link.try_attach({.type_hash = 0}));
}

TEST(Admission, IsRefusedByAStreamThatHasEnded) {
  LocalLink link(small_stream());
  link.publisher().end();
  EXPECT_NE(refusal(link.try_attach({})).find("ended"), std::string::npos);
}

// The requests that no Reader makes: built by hand.
class HandMadeRequests : public testing::Test {
 protected:
  HandMadeRequests()
      : publisher_(must(Publisher::create(small_stream()))),
        arena_(must(Arena::create("readers"))),
        wakes_(must(Arena::create("wakes"))) {}

  AttachRequest request() {
    const UniqueFd fd = must(arena_->share());
    AttachRequest r;
    r.reader_arena = std::make_shared<const View>(must(View::open(fd.get(), "an arena")));
    r.wake_arena = wakes_;
    return r;
  }
  std::string refusal_of(const std::function<void(AttachRequest&)>& change) {
    AttachRequest r = request();
    change(r);
    const auto admission = publisher_->attach(std::move(r));
    if (admission) return "(admitted)";
    EXPECT_EQ(admission.error().code, Errc::refused);
    return admission.error().message;
  }

  PublisherPtr publisher_;
  std::shared_ptr<Arena> arena_;
  std::shared_ptr<Arena> wakes_;
};

TEST_F(HandMadeRequests, AreRefusedWithAModeThatDoesNotExist) {
  for (const int mode : {0, 5, 255}) {
    EXPECT_NE(
        refusal_of([&](auto& r) { r.options.mode = static_cast<DeliveryMode>(mode); }).find("mode"),
        std::string::npos);
  }
}

TEST_F(HandMadeRequests, AreRefusedWithAPageOutsideTheArena) {
  const std::uint64_t size = arena_->size();
  for (const std::uint64_t offset :
       {std::uint64_t{8}, size, size - 64, ~std::uint64_t{63}, size + 64}) {
    EXPECT_NE(refusal_of([&](auto& r) { r.page_offset = offset; }).find("outside"),
              std::string::npos)
        << offset;
  }
  EXPECT_NE(refusal_of([](auto& r) { r.reader_arena.reset(); }).find("outside"), std::string::npos);
  EXPECT_EQ(refusal_of([&](auto& r) {
              r.page_offset = size - reader_page_bytes(publisher_->geometry().slot_limit);
            }),
            "(admitted)");
}

TEST_F(HandMadeRequests, AreRefusedWithoutAWakeArena) {
  EXPECT_NE(refusal_of([](auto& r) { r.wake_arena.reset(); }).find("wake"), std::string::npos);
}

TEST_F(HandMadeRequests, AreRefusedWithAnEventThatIsNone) {
  const auto with = [](int fd) { return [fd](AttachRequest& r) { r.event.reset(fd); }; };
  EXPECT_NE(refusal_of(with(::open("/dev/null", O_RDWR | O_CLOEXEC))).find("eventfd"),
            std::string::npos);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  EXPECT_NE(refusal_of(with(ends[1])).find("eventfd"), std::string::npos);
  ::close(ends[0]);
  EXPECT_EQ(refusal_of(with(::eventfd(0, EFD_CLOEXEC))), "(admitted)");
}

TEST_F(HandMadeRequests, MakeABlockingEventNonBlocking) {
  const UniqueFd event{::eventfd(0, EFD_CLOEXEC)};
  AttachRequest r = request();
  r.event.reset(::dup(event.get()));
  ASSERT_TRUE(publisher_->attach(std::move(r)));
  EXPECT_NE(::fcntl(event.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(HandMadeRequests, FailWhenTheWakeArenaIsFull) {
  const auto tiny = must(Arena::create("tiny", page_bytes()));
  while (tiny->allocate(64)) {
  }
  AttachRequest r = request();
  r.wake_arena = tiny;
  const auto admission = publisher_->attach(std::move(r));
  ASSERT_FALSE(admission);
  EXPECT_EQ(admission.error().code, Errc::exhausted);
}

TEST(Eviction, HitsWhoClaimsMoreThanItWasGranted) {
  StreamOptions options = small_stream(4);
  options.pools = {{64, 4}};
  options.max_loans = 1;
  LocalLink link(options);
  const ReaderPtr honest = link.attach({.max_held = 1});
  const ForgedReader greedy(link.publisher(), {.max_held = 2});
  publish_number(link.publisher(), 1);
  const Sample held = honest->take();
  ForgedReader::put(greedy.claims(0).taken, 0b1111);
  std::uint64_t published = 1;
  for (std::uint64_t i = 2; i <= 20; ++i) {
    if (publish_number(link.publisher(), i) == Outcome::ok) ++published;
  }
  EXPECT_EQ(published, 20u);
  EXPECT_EQ(greedy.state(), AdmissionState::evicted);
  EXPECT_EQ(greedy.cause(), EvictionCause::quota);
  EXPECT_EQ(value(link.publisher().counters().evicted), 1u);
  EXPECT_EQ(number_of(held), 1u) << "the honest reader is not disturbed";
  EXPECT_TRUE(held.intact());
}

TEST(Eviction, CountsResolvedClaimsToo) {
  StreamOptions options = small_stream(4);
  options.pools = {{64, 4}};
  options.max_loans = 1;
  LocalLink link(options);
  const ForgedReader greedy(link.publisher(), {.max_held = 3});
  for (std::uint64_t i = 0; i < 4; ++i) publish_number(link.publisher(), i);
  ForgedReader::put(greedy.claims(0).taken, 0b0011);
  ForgedReader::put(greedy.claims(0).resolved, 0b1100);
  for (std::uint64_t i = 0; i < 8; ++i) ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
  EXPECT_EQ(greedy.cause(), EvictionCause::quota);
}

TEST(Eviction, SparesWhoHoldsWhatItWasGranted) {
  StreamOptions options = small_stream(4);
  options.pools = {{64, 4}};
  options.max_loans = 1;
  LocalLink link(options);
  const ForgedReader full(link.publisher(), {.max_held = 4});
  for (std::uint64_t i = 0; i < 4; ++i) publish_number(link.publisher(), i);
  ForgedReader::put(full.claims(0).taken, 0b1111);
  EXPECT_EQ(publish_number(link.publisher(), 5), Outcome::no_slot);
  EXPECT_EQ(full.state(), AdmissionState::attached);
}

// 130 slots, all held by a reader that may; their claims lie in three pairs of words.
TEST(Eviction, SparesWhoMovesFromSlotToSlotWhileItsClaimsAreCounted) {
  StreamOptions options = small_stream(130);
  options.pools = {{64, 130}};
  options.max_held = 131;
  LocalLink link(options);
  const ReaderPtr holder = link.attach({.max_held = 130});
  const ReaderPtr mover = link.attach({.max_held = 1});
  std::vector<Sample> held;
  for (std::uint64_t i = 0; i < 130; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
    held.push_back(holder->take());
  }
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> moves{0};
  std::thread moving([&] {
    while (!done) {
      for (const std::size_t i : {0, 129, 64}) {
        if (mover->resolve(held[i].reference())) ++moves;
      }
    }
  });
  std::uint64_t loans = 0;
  for (int i = 0; i < 5000 || moves < 1000; ++i) {
    if (link.publisher().loan(64).outcome() != Outcome::no_slot) ++loans;
  }
  done = true;
  moving.join();
  EXPECT_EQ(loans, 0u);
  EXPECT_EQ(value(link.publisher().counters().evicted), 0u);
  for (std::uint64_t i = 0; i < 130; ++i) ASSERT_EQ(number_of(held[i]), i);
}

TEST(Eviction, CountsWhatIsSpreadOverManyWords) {
  StreamOptions options = small_stream(130);
  options.pools = {{64, 130}};
  options.max_held = 130;
  LocalLink link(options);
  const ReaderPtr holder = link.attach({.max_held = 128});
  const ForgedReader greedy(link.publisher(), {.max_held = 2});
  std::vector<Sample> held;
  for (std::uint64_t i = 0; i < 130; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
    if (i % 64 != 0)
      held.push_back(holder->take());
    else
      drain(*holder);
  }
  // The three slots that the other reader does not hold.
  for (std::size_t pair = 0; pair < 3; ++pair) {
    std::uint64_t rest = pair < 2 ? ~std::uint64_t{0} : 3;
    for (const Sample& sample : held) {
      const std::uint32_t slot = sample.reference().slot;
      if (slot / 64 == pair) rest &= ~(std::uint64_t{1} << (slot % 64));
    }
    ASSERT_EQ(std::popcount(rest), 1);
    ForgedReader::put(greedy.claims(pair).taken, rest);
  }
  EXPECT_TRUE(link.publisher().loan(64));
  EXPECT_EQ(greedy.cause(), EvictionCause::quota);
  for (const Sample& sample : held) EXPECT_TRUE(sample.intact());
}

TEST(Eviction, HitsACursorThatLies) {
  LocalLink link(small_stream());
  const ForgedReader liar(link.publisher(), {});
  publish_number(link.publisher(), 1);
  ForgedReader::put(liar.page().cursor[0], 3);  // 2 is the most that it can have passed
  link.publisher().collect();
  EXPECT_EQ(liar.state(), AdmissionState::evicted);
  EXPECT_EQ(liar.cause(), EvictionCause::invalid);
  EXPECT_EQ(liar.wake().admission.stop[0].load(), 1u);
}

TEST(Eviction, DoesNotHitACursorAtTheEnd) {
  LocalLink link(small_stream());
  const ForgedReader reader(link.publisher(), {});
  publish_number(link.publisher(), 1);
  ForgedReader::put(reader.page().cursor[0], 2);
  link.publisher().collect();
  EXPECT_EQ(reader.state(), AdmissionState::attached);
}

TEST(Cursors, ThatGoBackAreIgnored) {
  StreamOptions options = small_stream(4);
  options.lanes = {{4, 4}};  // what was passed stays in the ring, as history
  options.on_full = OnFull::fail;
  LocalLink link(options);
  const ForgedReader reader(link.publisher(), {.mode = DeliveryMode::reliable});
  for (std::uint64_t i = 0; i < 4; ++i) publish_number(link.publisher(), i);
  ForgedReader::put(reader.page().cursor[0], 5);
  link.publisher().collect();
  ForgedReader::put(reader.page().cursor[0], 1);
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(publish_number(link.publisher(), i), Outcome::ok);
  EXPECT_EQ(publish_number(link.publisher(), 4), Outcome::full);
}

TEST(Eviction, OfOneReaderMovesNoOther) {
  StreamOptions options = small_stream();
  LocalLink link(options);
  const ReaderPtr first = link.attach({.max_held = 1});
  const ForgedReader liar(link.publisher(), {.max_held = 1});
  const ReaderPtr last = link.attach({.max_held = 1});
  ForgedReader::put(liar.page().cursor[0], 99);
  for (std::uint64_t i = 0; i < 20; ++i) {
    publish_number(link.publisher(), i);
    EXPECT_EQ(drain(*first), std::vector<std::uint64_t>{i});
    EXPECT_EQ(drain(*last), std::vector<std::uint64_t>{i});
    link.publisher().collect();
  }
  EXPECT_EQ(link.publisher().reader_count(), 2u);
  (void)last->prepare_sleep(false);
  publish_number(link.publisher(), 20);
  EXPECT_EQ(value(link.publisher().counters().wakes), 1u) << "and it is still woken";
}

TEST(Eviction, GivesTheGrantBack) {
  StreamOptions options = small_stream();
  options.max_held = 2;
  LocalLink link(options);
  const ForgedReader liar(link.publisher(), {.max_held = 2});
  EXPECT_FALSE(link.try_attach({.max_held = 1}));
  ForgedReader::put(liar.page().cursor[0], 99);
  link.publisher().collect();
  EXPECT_TRUE(link.try_attach({.max_held = 2}));
}

TEST(Eviction, WakesTheReaderThatSleeps) {
  LocalLink link(small_stream());
  const ForgedReader liar(link.publisher(), {});
  ForgedReader::put(liar.page().sleeping.sleep, 2);
  ForgedReader::put(liar.page().cursor[0], 99);
  link.publisher().collect();
  EXPECT_EQ(liar.wake().line.wake.load(), 2u);
}

TEST(ReaderPages, MayContainAnythingWithoutHarmToOthers) {
  StreamOptions options = small_stream(4);
  options.lanes = {{4, 0}, {4, 0}};
  LocalLink link(options);
  const ReaderPtr honest = link.attach({.max_held = 1});
  const ForgedReader forged(link.publisher(), {.mode = DeliveryMode::next, .max_held = 2});
  std::uint64_t state = 12345;
  for (std::uint64_t i = 0; i < 500; ++i) {
    auto* words = reinterpret_cast<Word64*>(&forged.page());
    const std::uint64_t count =
        reader_page_bytes(link.publisher().geometry().slot_limit) / sizeof(Word64);
    for (std::uint64_t k = 0; k < count; ++k) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      ForgedReader::put(words[k], state);
    }
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
    ASSERT_EQ(drain(*honest), std::vector<std::uint64_t>{i});
  }
}

TEST(Detaching, EndsTheClaimsOfTheReader) {
  StreamOptions options = small_stream(2);
  options.pools = {{64, 1}};
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.max_held = 1});
  const std::uint32_t id = link.last_reader_id();
  publish_number(link.publisher(), 1);
  const Sample held = reader->take();
  EXPECT_EQ(publish_number(link.publisher(), 2), Outcome::no_slot);
  link.publisher().detach(id);
  EXPECT_EQ(link.publisher().reader_count(), 0u);
  EXPECT_EQ(publish_number(link.publisher(), 2), Outcome::ok);
  EXPECT_FALSE(held.intact());
  link.publisher().detach(id);  // nothing happens
  link.publisher().detach(4711);
}

// Wake pages are used again. Who was detached must not take the next reader's admission for its
// own.
TEST(Detaching, IsNotUndoneByTheNextReaderInTheSameWakePage) {
  const auto wakes = must(Arena::create("wakes"));
  const auto readers = must(Arena::create("readers"));
  const auto attach = [&](Publisher& publisher, std::uint32_t& id) {
    ReaderPtr reader = must(Reader::open(must(publisher.share()), {}, readers));
    const auto view_of = [](const Arena& arena) {
      const UniqueFd fd = must(arena.share());
      return std::make_shared<const View>(must(View::open(fd.get(), "an arena")));
    };
    AttachRequest request;
    request.reader_arena = view_of(*readers);
    request.page_offset = reader->page_offset();
    request.wake_arena = wakes;
    const Admission admission = must(publisher.attach(std::move(request)));
    id = admission.reader_id;
    must(reader->start(view_of(*wakes), admission.wake_offset));
    return reader;
  };
  const PublisherPtr one = must(Publisher::create(small_stream()));
  const PublisherPtr two = must(Publisher::create(small_stream()));
  std::uint32_t id = 0;
  const ReaderPtr detached = attach(*one, id);
  publish_number(*one, 1);
  const Sample held = detached->take();
  one->detach(id);
  EXPECT_EQ(detached->take().outcome(), Outcome::evicted);
  for (Publisher* publisher : {one.get(), two.get()}) {
    std::uint32_t other = 0;
    const ReaderPtr next = attach(*publisher, other);
    EXPECT_EQ(detached->take().outcome(), Outcome::evicted);
    EXPECT_FALSE(held.intact());
    publisher->detach(other);
  }
}

TEST(Leaving, EndsASubscriptionByItself) {
  LocalLink link(small_stream());
  ReaderPtr reader = link.attach({});
  EXPECT_EQ(link.publisher().reader_count(), 1u);
  reader.reset();
  link.publisher().collect();
  EXPECT_EQ(link.publisher().reader_count(), 0u);
}

TEST(Leaving, WithSamplesHeldKeepsTheClaimsUntilTheyEnd) {
  StreamOptions options = small_stream(2);
  options.pools = {{64, 3}};
  LocalLink link(options);
  ReaderPtr reader = link.attach({.max_held = 1});
  publish_number(link.publisher(), 1);
  Sample held = reader->take();
  reader.reset();
  for (std::uint64_t i = 2; i < 20; ++i)
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
  EXPECT_EQ(number_of(held), 1u);
  EXPECT_EQ(link.publisher().reader_count(), 1u) << "its claim still counts";
  EXPECT_TRUE(held.intact());
  held.release();
  link.publisher().collect();
  EXPECT_EQ(link.publisher().reader_count(), 0u);
}

TEST(Reaping, FindsReadersThatHaveFinished) {
  LocalLink link(small_stream());
  ReaderPtr one = link.attach({});
  const ReaderPtr two = link.attach({});
  EXPECT_EQ(link.publisher().reap(), 0u);
  one.reset();
  EXPECT_EQ(link.publisher().reap(), 1u);
  EXPECT_EQ(link.publisher().reader_count(), 1u);
}

TEST(Reaping, FindsProcessesThatHaveDied) {
  if (!pidfd_open(::getpid()).valid()) GTEST_SKIP() << "this kernel has no pidfd_open";
  Child child = Child::run([](int socket) {
    const auto arena = must(Arena::create("readers"));
    const ReaderPtr reader = must(attach_over(socket, {.mode = DeliveryMode::reliable}, arena));
    (void)receive_message(socket);
    return 0;
  });
  StreamOptions options = small_stream(2);
  options.full_timeout_ns = 10'000'000'000;
  const PublisherPtr publisher = must(Publisher::create(options));
  const auto wakes = must(Arena::create("wakes"));
  must(admit_over(child.socket(), *publisher, wakes));
  EXPECT_EQ(publisher->reap(), 0u);
  for (std::uint64_t i = 0; i < 2; ++i) publish_number(*publisher, i);
  child.kill();
  EXPECT_EQ(child.join(), 128 + SIGKILL);
  EXPECT_EQ(publish_number(*publisher, 2), Outcome::ok) << "a dead reader does not block for long";
  EXPECT_EQ(publisher->reader_count(), 0u);
  EXPECT_EQ(publisher->reap(), 0u) << "the publisher has found out by itself";
  EXPECT_EQ(wakes->used(), 0u) << "but only visitors give back";
}

TEST(Reaping, ForgetsEvictedReadersThatHaveFinished) {
  StreamOptions options = small_stream();
  options.max_readers = 1;
  LocalLink link(options);
  const ForgedReader liar(link.publisher(), {});
  ForgedReader::put(liar.page().cursor[0], 99);
  link.publisher().collect();
  EXPECT_FALSE(link.try_attach({})) << "its pages are still in use";
  ForgedReader::put(liar.page().sleeping.state, static_cast<std::uint32_t>(ReaderState::gone));
  EXPECT_EQ(link.publisher().reap(), 1u);
  EXPECT_TRUE(link.try_attach({}));
}

TEST(LateJoiners, StartWhereTheyAskToAsFarAsItIsKept) {
  StreamOptions options = small_stream(8);
  options.lanes = {{8, 4}};
  LocalLink link(options);
  for (std::uint64_t i = 1; i <= 6; ++i) publish_number(link.publisher(), i);
  const auto numbers = [&](std::uint32_t history) {
    const ReaderPtr reader = link.attach({.max_held = 1, .history = history});
    const std::uint64_t waiting = reader->waiting();
    const auto got = drain(*reader);
    EXPECT_EQ(got.size(), waiting);
    EXPECT_EQ(lost(*reader), 0u);
    return got;
  };
  EXPECT_EQ(numbers(0), std::vector<std::uint64_t>{});
  EXPECT_EQ(numbers(1), std::vector<std::uint64_t>{6});
  EXPECT_EQ(numbers(3), (std::vector<std::uint64_t>{4, 5, 6}));
  EXPECT_EQ(numbers(1000).back(), 6u);
}

TEST(LateJoiners, OfAnEmptyStreamStartAtTheBeginning) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({.history = 5});
  publish_number(link.publisher(), 1);
  EXPECT_EQ(drain(*reader), std::vector<std::uint64_t>{1});
}

TEST(LateJoiners, GetTheRetainedValueInLatestMode) {
  StreamOptions options = small_stream(8);
  options.lanes = {{8, 1}};
  LocalLink link(options);
  for (std::uint64_t i = 1; i <= 6; ++i) publish_number(link.publisher(), i);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::latest, .history = 1});
  EXPECT_EQ(drain(*reader), std::vector<std::uint64_t>{6});
}

TEST(LateJoiners, ThatAreReliableGetEveryEntryOfTheirHistory) {
  StreamOptions options = small_stream(4);
  options.lanes = {{4, 4}};
  options.on_full = OnFull::fail;
  LocalLink link(options);
  for (std::uint64_t i = 1; i <= 4; ++i) publish_number(link.publisher(), i);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable, .history = 4});
  EXPECT_EQ(publish_number(link.publisher(), 5), Outcome::full);
  EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{1, 2, 3, 4}));
}

}  // namespace
}  // namespace sluice::shm
