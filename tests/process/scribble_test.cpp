// One process writes at random over all shared memory that it can write. Everybody else goes on.
//
// SLUICE_SCRIBBLE_MS: how long each of them may; the label long gives them more.
#include "shm/wait_set.hpp"
#include "tests/process/maps.hpp"
#include "tests/process/pattern.hpp"
#include "tests/process/planned_slots.hpp"
#include "tests/support/local_link.hpp"
#include "tests/support/process_link.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace sluice::test {
namespace {

constexpr uid_t kNobody = 65'534;
constexpr auto kModes = {DeliveryMode::latest, DeliveryMode::next, DeliveryMode::reliable};
constexpr std::uint64_t kMostSilenceNs = 5'000'000'000;

std::uint64_t scribble_ms() {
  const char* text = std::getenv("SLUICE_SCRIBBLE_MS");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : 300;
}

Child start_scribbler(const char* role, unsigned variant, bool works_on, uid_t user) {
  static unsigned seed = 0;
  const std::array<std::string, 5> numbers{std::to_string(variant), works_on ? "1" : "0",
                                           std::to_string(++seed), std::to_string(scribble_ms()),
                                           std::to_string(user)};
  return Child::run([&](int socket) {
    const int fd = ::fcntl(socket, F_DUPFD, 10);  // survives the exec
    ::execl(SLUICE_SCRIBBLER, "scribbler", role, std::to_string(fd).c_str(), numbers[0].c_str(),
            numbers[1].c_str(), numbers[2].c_str(), numbers[3].c_str(), numbers[4].c_str(),
            nullptr);
    return 126;
  });
}

// A healthy reader: in order, whole, and (but for `latest`) nothing lost.
struct Healthy {
  shm::ReaderPtr reader;
  std::uint64_t last = 0;

  void drain() {
    for (;;) {
      Sample sample = reader->take();
      if (!sample) {
        ASSERT_EQ(sample.outcome(), Outcome::empty) << to_string(sample.outcome());
        return;
      }
      const std::uint64_t sequence = sample.info().sequence;
      ASSERT_TRUE(has_pattern(sample.bytes(), 1, sequence)) << "a wrong payload";
      if (reader->options().mode != DeliveryMode::latest) {
        ASSERT_EQ(sequence, last + 1) << "something is lost";
      }
      last = sequence;
      reader->acknowledge(sample);
    }
  }
};

// --- a reader goes mad
// ---------------------------------------------------------------------------------

using ReaderCase = std::tuple<const char*, DeliveryMode, OnFull, bool, uid_t>;
class MadReader : public testing::TestWithParam<ReaderCase> {};

TEST_P(MadReader, TheOthersGoOn) {
  const auto [role, mode, on_full, works_on, user] = GetParam();
  if (user != ::getuid() && ::getuid() != 0) GTEST_SKIP() << "needs root to become another user";
  Child mad = start_scribbler(role, static_cast<unsigned>(mode), works_on, user);
  StreamOptions options;
  options.lanes = {{8, 0}};
  options.pools = {{256, 0}, {shm::kLargeSlotBytes, 0}};
  options.max_held = 16;
  options.on_full = on_full;
  options.full_timeout_ns = 2'000'000;
  LocalLink link{options};
  std::vector<Healthy> healthy;
  for (const DeliveryMode own :
       {DeliveryMode::latest, DeliveryMode::next, DeliveryMode::reliable}) {
    healthy.push_back({link.attach({.mode = own, .max_held = 4, .spin_ns = 0})});
  }
  auto wakes = must(shm::Arena::create("mad-wakes"));  // another user has an arena of its own
  must(admit_over(mad.socket(), link.publisher(), wakes));
  ASSERT_EQ(must(receive_value<int>(mad.socket())), 0) << "what must be refused was not";
  must(send_value(mad.socket(), 0));

  const shm::UniqueFd death = pidfd_open(mad.pid());
  const std::uint64_t deadline = shm::deadline_in((scribble_ms() * 1'000'000) + kPatienceNs);
  std::uint64_t serial = 0;
  std::uint64_t full = 0;
  while (!shm::has_died(death)) {
    ASSERT_LT(shm::now_ns(), deadline) << "the scribbler hangs";
    Loan loan = link.publisher().loan(serial % 8 == 7 ? 4000 : 200);
    if (!loan) {
      // A reliable reader that stands still may use up the patience of the publisher.
      ASSERT_TRUE(loan.outcome() == Outcome::full && mode == DeliveryMode::reliable &&
                  on_full != OnFull::evict)
          << to_string(loan.outcome());
      ++full;
      continue;
    }
    fill_pattern(loan.bytes(), 1, ++serial);
    ASSERT_EQ(link.publisher().publish(std::move(loan)), Outcome::ok);
    for (Healthy& h : healthy) ASSERT_NO_FATAL_FAILURE(h.drain());
    if (serial % 64 == 0) ::usleep(50);
  }
  const int code = mad.join();
  EXPECT_TRUE(code == 0 || works_on) << "the scribbler ended with " << code;
  EXPECT_GT(serial + full, 50u) << "the publisher did not go on";
  link.publisher().reap();
  for (Healthy& h : healthy) {
    ASSERT_NO_FATAL_FAILURE(h.drain());
    EXPECT_EQ(h.last, serial) << "the newest has not arrived";
    if (h.reader->options().mode != DeliveryMode::latest) {
      EXPECT_EQ(h.reader->counters().taken.load(), serial);
    }
  }
  healthy.clear();
  EXPECT_EQ(find_lost_slots(link, options), "");
}

std::string reader_case_name(const testing::TestParamInfo<ReaderCase>& info) {
  const char* modes[] = {"", "latest", "next", "reliable"};
  const char* full[] = {"wait", "fail", "evict"};
  const auto& [role, mode, on_full, works_on, user] = info.param;
  return std::string(role) + "_" + modes[static_cast<int>(mode)] + "_" +
         full[static_cast<int>(on_full)] + (works_on ? "_working" : "_idle") +
         (user == kNobody ? "_other_user" : "");
}
INSTANTIATE_TEST_SUITE_P(Scribble, MadReader,
                         testing::Combine(testing::Values("reader"), testing::ValuesIn(kModes),
                                          testing::Values(OnFull::wait, OnFull::evict),
                                          testing::Bool(), testing::Values(::getuid())),
                         reader_case_name);
INSTANTIATE_TEST_SUITE_P(ScribbleClaims, MadReader,
                         testing::Combine(testing::Values("claimer"), testing::ValuesIn(kModes),
                                          testing::Values(OnFull::wait), testing::Bool(),
                                          testing::Values(::getuid())),
                         reader_case_name);
INSTANTIATE_TEST_SUITE_P(
    ScribbleAsNobody, MadReader,
    testing::Combine(testing::Values("reader"),
                     testing::Values(DeliveryMode::next, DeliveryMode::reliable),
                     testing::Values(OnFull::fail), testing::Bool(), testing::Values(kNobody)),
    reader_case_name);

// --- a publisher goes mad
// ---------------------------------------------------------------------------------

// Takes what the mad one offers and touches all of it; every call returns and every byte lies in a
// pool that is mapped read-only.
class Victim {
 public:
  explicit Victim(shm::ReaderPtr reader) : reader_(std::move(reader)) {}
  shm::Reader& reader() { return *reader_; }

  void suffer(const std::vector<Mapping>& pools) {
    for (int i = 0; i < 16; ++i) {
      Sample sample = reader_->take();
      if (!sample) {
        if (sample.outcome() == Outcome::quota) held_.clear();
        break;
      }
      look_at(sample, pools);
      if (sample.reference_count() != 0) look_at(reader_->resolve(sample.reference_at(0)), pools);
      look_at(reader_->resolve(sample.reference()), pools);
      reader_->acknowledge(sample);
      if (i % 4 == 0) held_.push_back(std::move(sample));
      if (held_.size() > 2) held_.clear();
    }
    ASSERT_LE(reader_->held(), reader_->options().max_held);
  }

  [[nodiscard]] std::uint64_t looked_at() const { return looked_at_; }

 private:
  void look_at(const Sample& sample, const std::vector<Mapping>& pools) {
    if (!sample) return;
    ++looked_at_;
    const bool inside = std::any_of(pools.begin(), pools.end(), [&](const Mapping& m) {
      return !m.writable && m.contains(sample.data(), sample.size());
    });
    ASSERT_TRUE(inside) << "a sample lies outside its stream";
    for (const std::byte b : sample.bytes()) sum_ = sum_ + std::to_integer<unsigned>(b);
  }

  shm::ReaderPtr reader_;
  std::vector<Sample> held_;
  std::uint64_t looked_at_ = 0;
  volatile unsigned sum_ = 0;
};

class MadPublisher : public testing::TestWithParam<std::tuple<bool, uid_t>> {};

// A healthy stream whose publisher is a thread, read together with those of mad ones.
class HealthyStream {
 public:
  explicit HealthyStream(shm::WaitSet& set)
      : link_(options()),
        healthy_{link_.attach({.mode = DeliveryMode::reliable, .spin_ns = 0}, must(set.event()))},
        thread_([this] { publish(); }) {
    set.add(*healthy_.reader);
  }
  ~HealthyStream() {
    stop_ = true;
    thread_.join();
  }
  HealthyStream(const HealthyStream&) = delete;
  HealthyStream& operator=(const HealthyStream&) = delete;

  void drain() {
    const std::uint64_t before = healthy_.last;
    ASSERT_NO_FATAL_FAILURE(healthy_.drain());
    if (healthy_.last != before) heard_ns_ = shm::now_ns();
    ASSERT_LT(shm::now_ns() - heard_ns_, kMostSilenceNs) << "the healthy stream stands still";
  }
  [[nodiscard]] std::uint64_t received() const { return healthy_.last; }

 private:
  static StreamOptions options() {
    StreamOptions o;
    o.lanes = {{64, 0}};
    o.pools = {{256, 0}};
    o.full_timeout_ns = 1'000'000'000;
    return o;
  }
  void publish() {
    for (std::uint64_t serial = 1; !stop_; ::usleep(100)) {
      Loan loan = link_.publisher().loan(200);
      if (!loan) continue;  // nobody drains any more
      fill_pattern(loan.bytes(), 1, serial++);
      (void)link_.publisher().publish(std::move(loan));
    }
  }

  LocalLink link_;
  Healthy healthy_;
  std::uint64_t heard_ns_ = shm::now_ns();
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// One mad publisher, from its start to its end; `seen` counts what was taken from it.
void live_through(bool works_on, uid_t user, shm::WaitSet& set, HealthyStream& healthy,
                  std::uint64_t& seen) {
  Child mad = start_scribbler("publisher", 3, works_on, user);
  const shm::UniqueFd death = pidfd_open(mad.pid());
  auto arena = must(shm::Arena::create("victims", 65'536));
  std::vector<Victim> victims;
  for (const DeliveryMode mode : kModes) {
    const shm::UniqueFd event = must(set.event());
    victims.emplace_back(must(attach_over(mad.socket(), {.mode = mode}, arena, event.get())));
  }
  for (Victim& v : victims) set.add(v.reader());
  const std::vector<Mapping> pools = shared_mappings("/memfd:sluice-pool");
  const auto round = [&] {
    (void)set.wait(shm::deadline_in(5'000'000));
    for (Victim& v : victims) ASSERT_NO_FATAL_FAILURE(v.suffer(pools));
    ASSERT_NO_FATAL_FAILURE(healthy.drain());
  };
  (void)must(receive_value<int>(mad.socket()));
  round();  // what it published while it was sane
  must(send_value(mad.socket(), 0));
  const std::uint64_t deadline = shm::deadline_in((scribble_ms() * 1'000'000) + kPatienceNs);
  while (!shm::has_died(death) && !testing::Test::HasFatalFailure()) {
    ASSERT_LT(shm::now_ns(), deadline) << "the scribbler hangs";
    round();
  }
  for (int i = 0; i < 5 && !testing::Test::HasFatalFailure(); ++i) round();  // after its death
  const int code = mad.join();
  EXPECT_TRUE(code == 0 || works_on) << "the scribbler ended with " << code;
  for (Victim& v : victims) {
    set.remove(v.reader());
    seen += v.looked_at();
  }
}

TEST_P(MadPublisher, ItsReadersLiveAndTheirOtherStreamsAreUnharmed) {
  const auto [works_on, user] = GetParam();
  if (user != ::getuid() && ::getuid() != 0) GTEST_SKIP() << "needs root to become another user";
  auto set = must(shm::WaitSet::create());
  HealthyStream healthy{set};
  std::uint64_t seen = 0;
  // Over its own ruins a publisher soon dies: then the next one comes.
  const std::uint64_t until = shm::deadline_in(scribble_ms() * 1'000'000);
  do {
    ASSERT_NO_FATAL_FAILURE(live_through(works_on, user, set, healthy, seen));
  } while (shm::now_ns() < until);
  EXPECT_GT(seen, 0u) << "nothing was ever taken: the test looks at nothing";
  const std::uint64_t received = healthy.received();
  while (healthy.received() < received + 100) {
    (void)set.wait(shm::deadline_in(5'000'000));
    ASSERT_NO_FATAL_FAILURE(healthy.drain());
  }
}

INSTANTIATE_TEST_SUITE_P(Scribble, MadPublisher,
                         testing::Combine(testing::Bool(), testing::Values(::getuid(), kNobody)));

}  // namespace
}  // namespace sluice::test
