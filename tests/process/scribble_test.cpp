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
constexpr auto kModes = {DeliveryMode::latest, DeliveryMode::next, DeliveryMode::reliable};
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

TEST_P(MadPublisher, ItsReadersLiveAndTheirOtherStreamsAreUnharmed) {
  const auto [works_on, user] = GetParam();
  if (user != ::getuid() && ::getuid() != 0) GTEST_SKIP() << "needs root to become another user";
  Child mad = start_scribbler("publisher", 3, works_on, user);
  auto set = must(shm::WaitSet::create());
  auto arena = must(shm::Arena::create("victims"));
  std::vector<Victim> victims;
  for (const DeliveryMode mode :
       {DeliveryMode::latest, DeliveryMode::next, DeliveryMode::reliable}) {
    SubscriptionOptions o;
    o.mode = mode;
    o.history = mode == DeliveryMode::latest ? 0 : 4;
    const shm::UniqueFd event = must(set.event());
    victims.emplace_back(must(attach_over(mad.socket(), o, arena, event.get())));
  }
  std::vector<Mapping> pools = shared_mappings("/memfd:sluice-pool");

  StreamOptions options;
  options.lanes = {{64, 0}};
  options.pools = {{256, 0}};
  options.full_timeout_ns = kPatienceNs;
  LocalLink link{options};
  Healthy healthy{link.attach({.mode = DeliveryMode::reliable, .spin_ns = 0}, must(set.event()))};
  for (Victim& v : victims) set.add(v.reader());
  set.add(*healthy.reader);
  (void)must(receive_value<int>(mad.socket()));
  for (Victim& v : victims) v.suffer(pools);  // what it published while it was sane
  must(send_value(mad.socket(), 0));

  std::atomic<bool> stop{false};
  std::uint64_t serial = 0;
  std::thread publisher{[&] {
    while (!stop) {
      Loan loan = link.publisher().loan(200);
      if (!loan) break;
      fill_pattern(loan.bytes(), 1, ++serial);
      (void)link.publisher().publish(std::move(loan));
      ::usleep(100);
    }
  }};
  const shm::UniqueFd death = pidfd_open(mad.pid());
  const std::uint64_t deadline = shm::deadline_in((scribble_ms() * 1'000'000) + kPatienceNs);
  std::uint64_t heard = shm::now_ns();
  const auto round = [&] {
    (void)set.wait(shm::deadline_in(5'000'000));
    for (Victim& v : victims) ASSERT_NO_FATAL_FAILURE(v.suffer(pools));
    const std::uint64_t before = healthy.last;
    ASSERT_NO_FATAL_FAILURE(healthy.drain());
    if (healthy.last != before) heard = shm::now_ns();
    ASSERT_LT(shm::now_ns() - heard, kMostSilenceNs) << "the healthy stream stands still";
  };
  while (!shm::has_died(death) && !HasFatalFailure() && shm::now_ns() < deadline) round();
  for (int i = 0; i < 5 && !HasFatalFailure(); ++i) round();  // and after its death
  stop = true;
  while (publisher.joinable() && !HasFatalFailure() && healthy.last < 1) round();
  publisher.join();
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_NO_FATAL_FAILURE(healthy.drain());
  EXPECT_EQ(healthy.last, serial);
  EXPECT_GT(serial, 5u);
  EXPECT_EQ(healthy.reader->counters().taken.load(), serial);
  const int code = mad.join();
  EXPECT_TRUE(code == 0 || works_on) << "the scribbler ended with " << code;
  std::uint64_t seen = 0;
  for (const Victim& v : victims) seen += v.looked_at();
  EXPECT_GT(seen, 0u) << "nothing was ever taken: the test looks at nothing";
}

INSTANTIATE_TEST_SUITE_P(Scribble, MadPublisher,
                         testing::Combine(testing::Bool(), testing::Values(::getuid(), kNobody)));

}  // namespace
}  // namespace sluice::test
