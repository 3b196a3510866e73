// A publisher, honest readers, and one reader whose page holds whatever the input writes there.
//
// The input is a program: the publisher's calls, the honest readers' calls, and writes into the
// page of the hostile one: cursors, claims, sleep, room, state, identity. Whatever stands there, no
// slot is handed out twice, no loan lies outside its pool, no payload that an honest reader holds
// changes, an honest reader loses only what its mode allows and can count it, none but reliable
// ones that are behind is evicted, slots that were planned for are never short, and each call
// returns.
#include "shm/clock.hpp"
#include "shm/layout.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/process/maps.hpp"
#include "tests/support/local_link.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace sluice::fuzz {
namespace {

using test::LocalLink;
using test::Mapping;
using test::must;
using test::shared_mappings;

constexpr int kMostSteps = 300;
constexpr std::uint32_t kMaxLoans = 3;
constexpr std::uint32_t kHostileHeld = 2;
constexpr std::uint32_t kHonestHeld = 3;
constexpr std::uint64_t kTimeoutNs = 50'000;

StreamOptions stream_options(Input& in) {
  const std::uint8_t shape = in.byte();
  StreamOptions options;
  options.lanes = {{1 + in.below(8), 0}};
  options.lanes[0].history = (shape & 1) != 0 ? in.below(options.lanes[0].depth + 1) : 0;
  if ((shape & 2) != 0) options.lanes.push_back({1 + in.below(4), 0});
  options.pools = {{64, 0}};
  if ((shape & 4) != 0) options.pools.push_back({shm::kLargeSlotBytes, 0});
  options.max_loans = kMaxLoans;
  options.max_held = kHostileHeld + 3 * kHonestHeld;
  options.max_readers = 8;
  options.on_full = static_cast<OnFull>(shape / 8 % 3);
  options.full_timeout_ns = kTimeoutNs;
  return options;
}

// One honest reader and what it has seen.
struct Honest {
  shm::ReaderPtr reader;
  DeliveryMode mode = DeliveryMode::next;
  std::array<std::uint64_t, kMaxLanes> first{};
  std::array<std::uint64_t, kMaxLanes> last{};
  std::vector<Sample> held;
  bool over = false;
};

std::uint64_t lost_of(const shm::Reader& reader) {
  std::uint64_t lost = 0;
  for (const auto& cause : reader.counters().lost) lost += cause.load();
  return lost;
}

class Run {
 public:
  explicit Run(Input in) : in_(in), options_(stream_options(in_)), link_(options_) {
    for (const Mapping& m : shared_mappings("/memfd:sluice-pool")) {
      if (m.writable) pools_.push_back(m);
    }
    const std::uint8_t who = in_.byte();
    for (std::uint32_t i = 0; i < 3; ++i) {
      if ((who >> i & 1) != 0) join(static_cast<DeliveryMode>(1 + i));
    }
    attach_hostile(static_cast<DeliveryMode>(1 + who / 8 % 3));
    for (Honest& h : honest_) note_start(h);
  }

  void go() {
    for (int step = 0; step < kMostSteps && !in_.empty(); ++step) one();
    finish();
  }

 private:
  shm::Publisher& publisher() { return link_.publisher(); }

  void join(DeliveryMode mode) {
    SubscriptionOptions options;
    options.mode = mode;
    options.max_held = kHonestHeld;
    options.spin_ns = 0;
    Honest h;
    h.mode = mode;
    h.reader = link_.attach(options);
    honest_.push_back(std::move(h));
  }
  void note_start(Honest& h) {
    for (std::uint32_t i = 0; i < options_.lanes.size(); ++i) h.last[i] = head_[i];
    h.first = h.last;
  }

  void attach_hostile(DeliveryMode mode) {
    SubscriptionOptions options;
    options.mode = mode;
    options.max_held = kHostileHeld;
    options.spin_ns = 0;
    auto reader = link_.try_attach(options);
    if (!reader) return;
    hostile_ = std::move(*reader);
    hostile_id_ = link_.last_reader_id();
    page_ = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(&hostile_->counters())) -
            offsetof(shm::ReaderPage, counters);
    page_words_ = shm::reader_page_bytes(publisher().geometry().slot_limit) / 8;
  }
  void drop_hostile() {
    if (!hostile_) return;
    hostile_samples_.clear();
    hostile_.reset();
    publisher().detach(hostile_id_);
    page_ = nullptr;
  }

  void one() {
    const std::uint8_t what = in_.byte();
    switch (what % 16) {
      case 0:
        take_loan(what);
        break;
      case 1:
        for (int i = what / 16; i >= 0 && loans_.size() < kMaxLoans; --i) {
          take_loan(what);
          publish();
        }
        break;
      case 2:
      case 3:
        publish();
        break;
      case 4:
        if (!loans_.empty()) loans_.erase(loans_.begin() + in_.below(count(loans_)));
        break;
      case 5:
      case 6:
        if (!honest_.empty()) take(honest_[what / 16 % honest_.size()]);
        break;
      case 7:
        if (!honest_.empty()) release(honest_[what / 16 % honest_.size()]);
        break;
      case 8:
        collect();
        break;
      case 9:
        publisher().reap();
        break;
      case 10:
        if (hostile_ && hostile_samples_.size() < 8) {
          if (Sample s = hostile_->take()) hostile_samples_.push_back(std::move(s));
        }
        break;
      case 11:
        if (what / 16 == 0) {
          drop_hostile();
          attach_hostile(static_cast<DeliveryMode>(1 + in_.below(3)));
        } else {
          hostile_samples_.clear();
        }
        break;
      default:
        write_page();
        break;
    }
  }

  template <class T>
  static std::uint32_t count(const T& list) {
    return static_cast<std::uint32_t>(list.size());
  }

  void write_page() {
    if (page_ == nullptr) return;
    const std::uint8_t what = in_.byte();
    std::uint64_t at = in_.below(static_cast<std::uint32_t>(page_words_));
    std::uint64_t near = 0;
    const std::uint64_t hot = shm::kReaderHotOffset / 8;
    switch (what % 8) {
      case 0:
        at = hot + what / 8 % options_.lanes.size();
        near = head_[what / 8 % options_.lanes.size()] + 1;
        break;
      case 1:
        at = offsetof(shm::ReaderPage, sleeping) / 8 + what / 8 % 2;  // sleep, room, state
        break;
      case 2:  // anywhere
        break;
      default:  // the first claims
        at = hot + kMaxLanes + what / 8 % 4;
        break;
    }
    auto* word = reinterpret_cast<shm::Word64*>(page_ + at * 8);
    word->store(in_.hostile(near != 0 ? near : word->load()));
  }

  void collect() {
    const bool attached = page_ != nullptr && hostile_->over() != Outcome::evicted;
    const auto* page = reinterpret_cast<const shm::ReaderPage*>(page_);
    publisher().collect();
    if (!attached) return;
    for (std::uint32_t i = 0; i < options_.lanes.size(); ++i) {
      if (page->cursor[i].load() > head_[i] + 1 &&
          page->sleeping.state.load() != static_cast<std::uint32_t>(shm::ReaderState::gone)) {
        require(hostile_->over() == Outcome::evicted,
                "a reader that says it has passed what does not exist is evicted");
      }
    }
  }

  void take_loan(std::uint8_t what) {
    const std::uint64_t size = (what & 16) != 0 && options_.pools.size() > 1 ? 5000 : 16;
    const auto priority = static_cast<Priority>((what & 32) != 0 ? 1 : 0);
    Loan loan = publisher().loan(size, priority);
    if (!loan) {
      require(loan.outcome() == Outcome::full || loan.outcome() == Outcome::no_loan,
              "slots that were planned for are never short");
      require(loan.outcome() != Outcome::full || options_.on_full != OnFull::evict,
              "a publisher that evicts is never full");
      return;
    }
    require(loans_.size() < kMaxLoans, "at most max_loans loans");
    const bool inside = std::any_of(pools_.begin(), pools_.end(), [&](const Mapping& m) {
      return m.contains(loan.data(), loan.capacity());
    });
    require(inside && loan.capacity() >= size, "a loan lies inside a pool and is large enough");
    for (const Loan& other : loans_) {
      require(apart(loan.data(), loan.capacity(), other.data(), other.capacity()),
              "no slot is loaned twice");
    }
    std::memset(loan.data(), 0xee, size);
    loans_.push_back(std::move(loan));
  }

  static bool apart(const std::byte* a, std::uint64_t m, const std::byte* b, std::uint64_t n) {
    return a + m <= b || b + n <= a;
  }

  void publish() {
    if (loans_.empty()) return;
    const std::uint32_t at = in_.below(count(loans_));
    Loan loan = std::move(loans_[at]);
    loans_.erase(loans_.begin() + at);
    // The payload says which message it is; the lane is known when the sample is.
    ++serial_;
    std::memcpy(loan.data(), &serial_, sizeof serial_);
    std::memcpy(loan.data() + 8, &serial_, sizeof serial_);
    loan.headers.correlation.low = serial_;
    const auto before = heads();
    require(publisher().publish(std::move(loan)) == Outcome::ok, "a loan can be published");
    head_ = heads();
    require(head_[0] + head_[1] == before[0] + before[1] + 1, "one more message");
  }
  std::array<std::uint64_t, kMaxLanes> heads() {
    const auto* line =
        reinterpret_cast<const shm::HeadLine*>(publisher().control() + shm::kHeadOffset);
    std::array<std::uint64_t, kMaxLanes> out{};
    for (std::uint32_t i = 0; i < kMaxLanes; ++i) out[i] = line->head[i].load();
    return out;
  }

  static void verify(const Sample& sample) {
    std::array<std::uint64_t, 2> words{};
    std::memcpy(words.data(), sample.data(), sizeof words);
    require(!sample.intact() || (words[0] == words[1] && words[0] == sample.info().correlation.low),
            "a payload that an honest reader holds does not change");
  }

  bool take(Honest& h) {
    Sample sample = h.reader->take();
    if (!sample) {
      if (sample.outcome() == Outcome::evicted) {
        require(h.mode == DeliveryMode::reliable && options_.on_full == OnFull::evict,
                "only OnFull::evict evicts an honest reader, and only a reliable one");
        h.over = true;
      }
      return false;
    }
    verify(sample);
    const auto lane = static_cast<std::size_t>(sample.info().priority);
    require(sample.info().sequence > h.last[lane], "sequences grow");
    if (h.mode == DeliveryMode::reliable) {
      require(sample.info().sequence == h.last[lane] + 1, "a reliable reader loses nothing");
    }
    h.last[lane] = sample.info().sequence;
    h.held.push_back(std::move(sample));
    return true;
  }
  void release(Honest& h) {
    if (h.held.empty()) return;
    const std::uint32_t at = in_.below(count(h.held));
    verify(h.held[at]);
    h.reader->acknowledge(h.held[at]);
    h.held.erase(h.held.begin() + at);
  }

  // Drains the honest readers, adds their counts up, and takes every slot that was planned.
  void finish() {
    loans_.clear();
    for (Honest& h : honest_) {
      do {
        for (Sample& sample : h.held) {
          verify(sample);
          h.reader->acknowledge(sample);
        }
        h.held.clear();
      } while (take(h) || !h.held.empty());
      std::uint64_t published = 0;
      for (std::uint32_t i = 0; i < options_.lanes.size(); ++i) published += head_[i] - h.first[i];
      if (!h.over) {
        require(h.reader->counters().taken.load() + lost_of(*h.reader) == published,
                "published = taken + lost");
      }
    }
    drop_hostile();
    honest_.clear();
    publisher().reap();
    require(publisher().reader_count() == 0, "all readers are gone");
    // A reader may hold all that may be held, while the rings and the loans are full.
    SubscriptionOptions all;
    all.max_held = options_.max_held;
    all.spin_ns = 0;
    shm::ReaderPtr holder = link_.attach(all);
    std::vector<Sample> held;
    const auto put = [&](std::uint32_t lane) {
      Loan loan = publisher().loan(8, static_cast<Priority>(lane));
      require(static_cast<bool>(loan), "a planned slot is there");
      require(publisher().publish(std::move(loan)) == Outcome::ok, "and can be published");
    };
    for (std::uint32_t i = 0; i < options_.max_held; ++i) {
      put(0);
      held.push_back(holder->take());
      require(static_cast<bool>(held.back()), "and taken");
    }
    for (std::uint32_t lane = 0; lane < options_.lanes.size(); ++lane) {
      for (std::uint32_t i = 0; i + 1 < options_.lanes[lane].depth; ++i) put(lane);
    }
    for (std::uint32_t lane = 0; lane < options_.lanes.size(); ++lane) {
      loans_.push_back(publisher().loan(8, static_cast<Priority>(lane)));
      require(static_cast<bool>(loans_.back()), "no slot is lost");
    }
    loans_.clear();
    held.clear();
  }

  Input in_;
  StreamOptions options_;
  LocalLink link_;
  std::vector<Mapping> pools_;
  std::vector<Honest> honest_;
  shm::ReaderPtr hostile_;
  std::uint32_t hostile_id_ = 0;
  std::byte* page_ = nullptr;
  std::uint64_t page_words_ = 0;
  std::vector<Sample> hostile_samples_;
  std::vector<Loan> loans_;
  std::array<std::uint64_t, kMaxLanes> head_{};
  std::uint64_t serial_ = 0;
};

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sluice::fuzz::Run{sluice::fuzz::Input{data, size}}.go();
  return 0;
}
