// The model is deliberately simple: each lane has a head; each reader has a place where it began.
// For every reader, whatever happened:
//
//   published since it began (up to its eviction) = taken + lost by cause + still waiting
//
// and what it took is in order, without duplicates, with the payload that was written.
#include "tests/conformance/schedule.hpp"

#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <algorithm>
#include <array>
#include <random>
#include <sstream>
#include <vector>

namespace sluice::test {
namespace {

struct Held {
  std::uint64_t number = 0;
  bool acknowledged = false;
  Sample sample;
};

struct ReaderModel {
  shm::ReaderPtr reader;
  SubscriptionOptions options;
  std::uint32_t id = 0;
  std::uint64_t before = 0;  // waiting at the start
  std::uint64_t since = 0;   // published since, until its eviction
  std::uint64_t got = 0;
  std::array<std::uint64_t, kMaxLanes> last{};  // sequence taken last, per lane
  std::vector<Held> held;
  bool evicted = false;
};

class Schedule {
 public:
  Schedule(std::uint64_t seed, ScheduleStatistics& statistics)
      : random_(seed), statistics_(statistics), options_(random_options()), link_(options_) {}

  std::string run() {
    const std::uint64_t steps = 20 + pick(200);
    for (std::uint64_t i = 0; i < steps && trouble_.empty(); ++i) {
      step();
      notice_evictions();
      if (trouble_.empty()) check();
    }
    if (trouble_.empty()) check_the_end();
    return trouble_;
  }

 private:
  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  bool chance(std::uint64_t percent) { return pick(100) < percent; }

  StreamOptions random_options() {
    StreamOptions o;
    o.lanes.clear();
    const std::uint64_t lanes = chance(60) ? 1 : 1 + pick(kMaxLanes);
    for (std::uint64_t i = 0; i < lanes; ++i) {
      const auto depth = static_cast<std::uint32_t>(1 + pick(chance(70) ? 8 : 40));
      o.lanes.push_back({depth, static_cast<std::uint32_t>(pick(depth + 1))});
    }
    const std::uint64_t pools = chance(60) ? 1 : 1 + pick(3);
    for (std::uint64_t i = 0; i < pools; ++i) {
      const std::uint64_t sizes[] = {64, 200, 1024, shm::kLargeSlotBytes};
      o.pools.push_back(
          {sizes[pick(4)], chance(60) ? static_cast<std::uint32_t>(1 + pick(12)) : 0});
    }
    o.max_loans = static_cast<std::uint32_t>(1 + pick(40));
    o.max_held = static_cast<std::uint32_t>(1 + pick(16));
    o.max_readers = static_cast<std::uint32_t>(1 + pick(6));
    o.max_references = static_cast<std::uint32_t>(chance(50) ? 0 : 1 + pick(3));
    o.on_full = static_cast<OnFull>(pick(3));
    o.full_timeout_ns = 0;
    o.stamp_publish_time = chance(50);
    o.commit_at_creation = chance(20);
    return o;
  }

  template <class... Parts>
  void complain(const Parts&... parts) {
    if (!trouble_.empty()) return;
    std::ostringstream out;
    (out << ... << parts);
    trouble_ = out.str();
  }

  void step() {
    const std::uint64_t what = pick(100);
    if (what < 30) {
      publish_one();
    } else if (what < 36) {
      publish_batch();
    } else if (what < 40) {
      loan_and_keep();
    } else if (what < 65) {
      take();
    } else if (what < 74) {
      release();
    } else if (what < 82) {
      acknowledge();
    } else if (what < 87) {
      attach();
    } else if (what < 89) {
      leave();
    } else if (what < 90) {
      detach();
    } else if (what < 96) {
      resolve();
    } else {
      what < 98 ? link_.publisher().collect() : static_cast<void>(link_.publisher().reap());
    }
  }

  Loan loan() {
    std::uint64_t largest = 0;
    for (const PoolOptions& pool : options_.pools) largest = std::max(largest, pool.slot_bytes);
    const std::uint64_t bytes = chance(80) ? 8 + pick(57) : 8 + pick(largest - 7);
    Loan result = link_.publisher().loan(bytes, static_cast<Priority>(pick(kMaxLanes)));
    notice_evictions();
    if (result) {
      write_number(result.data(), bytes, ++number_);
      if (options_.max_references != 0 && chance(40)) chain(result);
      return result;
    }
    statistics_.full += result.outcome() == Outcome::full;
    statistics_.no_slot += result.outcome() == Outcome::no_slot;
    if (result.outcome() != Outcome::full && result.outcome() != Outcome::no_slot &&
        result.outcome() != Outcome::no_loan) {
      complain("loan: ", to_string(result.outcome()));
    }
    return result;
  }

  // The message will hold one of the samples that readers hold now.
  void chain(Loan& result) {
    ReaderModel* model = any_reader();
    if (model == nullptr || model->held.empty()) return;
    const std::size_t index = pick(model->held.size());
    const Outcome outcome = result.attach(std::move(model->held[index].sample));
    if (outcome == Outcome::full) return;
    if (outcome != Outcome::ok) complain("attach to a loan: ", to_string(outcome));
    model->held.erase(model->held.begin() + static_cast<std::ptrdiff_t>(index));
    ++statistics_.chained;
  }

  void count_published(std::uint64_t count) {
    statistics_.published += count;
    for (ReaderModel& model : readers_) {
      if (!model.evicted) model.since += count;
    }
  }

  void publish_one() {
    Loan message = !kept_.empty() && chance(30) ? take_kept() : loan();
    if (!message) return;
    const Outcome outcome = link_.publisher().publish(std::move(message));
    if (outcome != Outcome::ok) complain("publish: ", to_string(outcome));
    count_published(1);
  }

  void publish_batch() {
    std::vector<Loan> loans;
    for (std::uint64_t n = 1 + pick(4); n-- > 0;) {
      if (Loan one = loan()) loans.push_back(std::move(one));
    }
    const Outcome outcome = link_.publisher().publish(loans);
    if (outcome != Outcome::ok) complain("publish of a batch: ", to_string(outcome));
    count_published(loans.size());
  }

  void loan_and_keep() {
    if (kept_.size() > 2) {
      (void)take_kept();  // given back
    } else if (Loan one = loan()) {
      kept_.push_back(std::move(one));
    }
  }
  Loan take_kept() {
    const std::size_t index = pick(kept_.size());
    Loan result = std::move(kept_[index]);
    kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(index));
    return result;
  }

  ReaderModel* any_reader() {
    return readers_.empty() ? nullptr : &readers_[pick(readers_.size())];
  }

  void take() {
    ReaderModel* model = any_reader();
    if (model == nullptr) return;
    for (std::uint64_t n = chance(70) ? 1 : pick(8); n-- > 0;) {
      Sample sample = model->reader->take();
      if (!sample) {
        check_empty(*model, sample.outcome());
        return;
      }
      if (model->evicted) complain("an evicted reader took something");
      const auto lane = static_cast<std::size_t>(sample.info().priority);
      if (sample.info().sequence <= model->last[lane]) complain("out of order, or twice");
      model->last[lane] = sample.info().sequence;
      ++model->got;
      ++statistics_.taken;
      model->held.push_back({number_of(sample), false, std::move(sample)});
      if (model->held.back().number == kBroken) complain("a broken payload was taken");
    }
  }

  void check_empty(const ReaderModel& model, Outcome outcome) {
    if (outcome == Outcome::quota) {
      if (model.reader->held() < model.options.max_held) complain("quota before it was reached");
    } else if (model.evicted) {
      if (outcome != Outcome::evicted) complain("an evicted reader learnt ", to_string(outcome));
    } else if (outcome != Outcome::empty) {
      complain("take: ", to_string(outcome));
    } else if (model.reader->waiting() != 0) {
      complain("empty, but ", model.reader->waiting(), " are waiting");
    }
  }

  void release() {
    ReaderModel* model = any_reader();
    if (model == nullptr || model->held.empty()) return;
    model->held.erase(model->held.begin() + static_cast<std::ptrdiff_t>(pick(model->held.size())));
  }

  void acknowledge() {
    ReaderModel* model = any_reader();
    if (model == nullptr || model->held.empty()) return;
    Held& held = model->held[pick(model->held.size())];
    model->reader->acknowledge(held.sample);
    held.acknowledged = true;
  }

  void attach() {
    if (chance(50)) link_.publisher().reap();
    ReaderModel model;
    model.options.mode = static_cast<DeliveryMode>(1 + pick(3));
    model.options.max_held = static_cast<std::uint32_t>(1 + pick(5));
    model.options.history = static_cast<std::uint32_t>(pick(10));
    auto reader = link_.try_attach(model.options);
    if (!reader) {
      ++statistics_.refused;
      if (reader.error().code != Errc::refused) complain("attach: ", reader.error().message);
      return;
    }
    model.reader = std::move(*reader);
    model.id = link_.last_reader_id();
    model.before = model.reader->waiting();
    std::uint64_t wanted = 0;
    for (const LaneOptions& lane : options_.lanes) {
      wanted += std::min(model.options.history, lane.depth);
    }
    if (model.before > wanted) complain("more history than was asked for");
    readers_.push_back(std::move(model));
  }

  void leave() {
    if (readers_.empty()) return;
    const std::size_t index = pick(readers_.size());
    check_counts(readers_[index]);
    if (chance(50)) {
      for (Held& held : readers_[index].held) orphans_.push_back(std::move(held));
      if (readers_[index].evicted) orphans_.clear();
    }
    readers_.erase(readers_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  // The publisher forgets a reader that goes on: its claims count for nothing any more.
  void detach() {
    ReaderModel* model = any_reader();
    if (model == nullptr) return;
    check_counts(*model);
    link_.publisher().detach(model->id);
    if (model->reader->over() != Outcome::evicted) complain("a detached reader does not notice");
    readers_.erase(readers_.begin() + (model - readers_.data()));
  }

  void resolve() {
    ReaderModel* model = any_reader();
    ReaderModel* other = any_reader();
    if (model == nullptr || other->held.empty()) return;
    const Held& held = other->held[pick(other->held.size())];
    Reference reference = held.sample.reference();
    const bool stale = chance(30);
    if (stale && reference.sequence > 1) --reference.sequence;
    const Sample sample = model->reader->resolve(reference);
    if (model->evicted) {
      if (sample) complain("an evicted reader resolved something");
    } else if (sample) {
      ++statistics_.resolved;
      if (reference == held.sample.reference() && !other->evicted &&
          number_of(sample) != held.number) {
        complain("resolved to another payload");
      }
    } else if (sample.outcome() == Outcome::expired) {
      ++statistics_.expired;
      if (reference == held.sample.reference() && !other->evicted) complain("expired while held");
    } else if (sample.outcome() != Outcome::quota) {
      complain("resolve: ", to_string(sample.outcome()));
    }
  }

  // Evictions happen inside loan, collect and reap; nothing is published in between.
  void notice_evictions() {
    for (ReaderModel& model : readers_) {
      if (!model.evicted && model.reader->over() == Outcome::evicted) {
        model.evicted = true;
        if (model.options.mode != DeliveryMode::reliable || options_.on_full != OnFull::evict) {
          complain("an honest reader was evicted");
        }
      }
    }
  }

  void check() {
    for (const ReaderModel& model : readers_) {
      if (model.evicted) {
        for (const Held& held : model.held) {
          if (held.sample.intact()) complain("an evicted reader's sample says it is intact");
        }
        continue;
      }
      check_counts(model);
      for (const Held& held : model.held) {
        if (number_of(held.sample) != held.number) complain("a held payload was overwritten");
      }
    }
    for (const Held& held : orphans_) {
      if (number_of(held.sample) != held.number) complain("an orphan's payload was overwritten");
    }
  }

  void check_counts(const ReaderModel& model) {
    const shm::Reader& reader = *model.reader;
    if (taken(reader) != model.got) complain("took ", model.got, ", counted ", taken(reader));
    if (model.evicted) return;  // see settle()
    const std::uint64_t all = model.before + model.since;
    if (taken(reader) + lost(reader) + reader.waiting() != all) {
      complain(all, " published, ", taken(reader), " taken, ", lost(reader), " lost, ",
               reader.waiting(), " waiting");
    }
    if (model.options.mode == DeliveryMode::reliable && lost(reader) != 0) {
      complain("a reliable reader lost something");
    }
  }

  // What is left is taken; then nothing waits, and an evicted reader knows what it missed.
  void settle(ReaderModel& model) {
    model.held.clear();
    for (;;) {
      const Sample sample = model.reader->take();
      if (!sample) {
        check_empty(model, sample.outcome());
        break;
      }
      ++model.got;
      model.reader->acknowledge(sample);
      if (number_of(sample) == kBroken) complain("a broken payload was taken");
    }
    check_counts(model);
    const shm::Reader& reader = *model.reader;
    // A sample that a message holds keeps it from taking, and so from counting the rest.
    if (reader.held() != 0) return;
    const std::uint64_t all = model.before + model.since;
    if (taken(reader) + lost(reader) != all) {
      complain("at the end ", all, " published, ", taken(reader), " taken, ", lost(reader),
               " lost");
    }
    statistics_.lost_by_policy += lost(reader, shm::LossCause::policy);
    statistics_.lost_by_full += lost(reader, shm::LossCause::full);
    statistics_.lost_by_eviction += lost(reader, shm::LossCause::evicted);
  }

  void check_the_end() {
    for (ReaderModel& model : readers_) settle(model);
    readers_.clear();
    orphans_.clear();
    kept_.clear();
    loan_every_slot();
  }

  // No slot leaked: when all have left, every one can be loaned, where the options allow that many.
  void loan_every_slot() {
    shm::Publisher& publisher = link_.publisher();
    const shm::Geometry& g = publisher.geometry();
    // A chain of holds ends link by link.
    for (std::size_t i = 0; i < 3 + 2 * g.slot_limit; ++i) publisher.collect();
    publisher.reap();
    if (publisher.reader_count() != 0 && options_.max_references == 0) {
      complain(publisher.reader_count(), " readers are still attached");
    }
    if (options_.max_loans < g.slot_limit || options_.lanes[0].depth < g.slot_limit) return;
    std::vector<Loan> loans;
    for (std::uint32_t slot = 0; slot < g.slot_limit; ++slot) {
      Loan one = publisher.loan(8);
      if (!one) {
        complain("only ", slot, " of ", g.slot_limit,
                 " slots are left: ", to_string(one.outcome()));
        return;
      }
      loans.push_back(std::move(one));
    }
    ++statistics_.all_loaned;
  }

  std::mt19937_64 random_;
  ScheduleStatistics& statistics_;
  StreamOptions options_;
  LocalLink link_;
  std::vector<ReaderModel> readers_;
  std::vector<Held> orphans_;  // of readers that have left
  std::vector<Loan> kept_;
  std::uint64_t number_ = 0;
  std::string trouble_;
};

}  // namespace

std::string run_schedule(std::uint64_t seed, ScheduleStatistics& statistics) {
  return Schedule(seed, statistics).run();
}

}  // namespace sluice::test
