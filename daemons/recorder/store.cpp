// Group commit: while one commit waits for the disk, and for a moment after it was begun, the next
// batch gathers. A commit that fails for
// want of room (or of a disk) keeps its durable messages, in order and before all that come later,
// and is tried again; nobody has acknowledged them meanwhile, so that their publishers wait.
#include "daemons/recorder/store.hpp"

#include "shm/kill_point.hpp"

#include <algorithm>
#include <future>
#include <iterator>
#include <utility>

namespace sluice::recorder {
namespace {

std::uint64_t size_of(const Record& record) noexcept {
  return sizeof(Record) + record.payload.size() + record.extensions.size() + record.topic.size();
}

}  // namespace

Result<std::unique_ptr<Store>> Store::create(StoreOptions options, OnSettled settled) {
  auto file = StoreFile::open(options.file);
  if (!file && file.error().code != Errc::exhausted) return std::move(file).error();
  std::unique_ptr<Store> store{new Store(std::move(options), std::move(settled))};
  if (file) {
    store->file_ = std::move(file).value();
    store->counts_.last_row = store->file_->last_row();
    store->counts_.bytes = store->file_->bytes();
  } else {
    store->said(file.error().message);
  }
  store->writer_ = std::thread{[s = store.get()] { s->run(); }};
  return store;
}

Store::Store(StoreOptions options, OnSettled settled)
    : options_(std::move(options)), settled_(std::move(settled)) {}

Store::~Store() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (writer_.joinable()) writer_.join();
}

bool Store::put(Record&& record, std::uint64_t ticket) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= options_.queue_count || queue_bytes_ >= options_.queue_bytes) return false;
    queue_bytes_ += size_of(record);
    queue_.push_back({std::move(record), ticket});
    wake = queue_.size() == 1 || queue_.size() == options_.batch_count;
  }
  if (wake) changed_.notify_all();
  return true;
}

void Store::acknowledge(const std::string& consumer, std::int64_t row) {
  {
    const std::lock_guard lock(mutex_);
    std::int64_t& place = moved_[consumer];
    place = std::max(place, row);
  }
  changed_.notify_all();
}

// ---- asking the writer

template <class T>
Result<T> Store::ask(std::function<Result<T>(StoreFile&)> work) {
  auto answer = std::make_shared<std::promise<Result<T>>>();
  auto future = answer->get_future();
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return Error{Errc::refused, 0, "the recorder ends"};
    if (file_ == nullptr) return Error{Errc::exhausted, 0, counts_.trouble};
    jobs_.push_back(
        [answer, work = std::move(work)](StoreFile& file) { answer->set_value(work(file)); });
  }
  changed_.notify_all();
  return future.get();
}

Result<Consumer> Store::register_consumer(const std::string& name, const std::string& filter,
                                          bool from_start) {
  return ask<Consumer>(
      [=](StoreFile& file) { return file.register_consumer(name, filter, from_start); });
}

Result<bool> Store::forget_consumer(const std::string& name) {
  return ask<bool>([=](StoreFile& file) { return file.forget_consumer(name); });
}

Result<std::vector<Consumer>> Store::consumers() {
  return ask<std::vector<Consumer>>(
      [](StoreFile& file) -> Result<std::vector<Consumer>> { return file.consumers(); });
}

Result<std::uint64_t> Store::purge(const Query& which) {
  return ask<std::uint64_t>([=](StoreFile& file) { return file.purge(which); });
}

StoreCounts Store::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

// ---- the writer

void Store::run() {
  while (collect()) write_batch();
}

// Waits for a batch; false when it is time to end.
bool Store::collect() {
  constexpr auto kIdle = std::chrono::seconds{10};  // age and size are looked after meanwhile
  std::unique_lock lock(mutex_);
  const auto something = [&] {
    return stopping_ || !queue_.empty() || !moved_.empty() || !jobs_.empty();
  };
  if (!batch_.empty() || file_ == nullptr) {
    // The last one failed. Who waits for an answer shall have it at once.
    changed_.wait_for(lock, options_.retry_time, [&] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return false;
  } else {
    changed_.wait_for(lock, kIdle, something);
    if (stopping_ && queue_.empty() && moved_.empty()) return false;
    changed_.wait_until(lock, last_begun_ + options_.batch_time, [&] {
      return stopping_ || !jobs_.empty() || queue_.size() >= options_.batch_count;
    });
  }
  while (!queue_.empty() && batch_.size() < options_.batch_count) {
    Item& item = queue_.front();
    queue_bytes_ -= size_of(item.record);
    batch_.push_back(std::move(item.record));
    tickets_.push_back(item.ticket);
    queue_.pop_front();
  }
  for (auto& [name, row] : moved_) places_.push_back({name, row});
  moved_.clear();
  if (!batch_.empty() || !places_.empty()) last_begun_ = std::chrono::steady_clock::now();
  return true;
}

void Store::write_batch() {
  if (file_ == nullptr && !open_again()) {
    drop_what_is_not_durable();
    return;
  }
  if (!batch_.empty() || !places_.empty()) {
    const Commit commit = file_->commit(batch_, places_);
    take_over(commit);
    if (commit.trouble == Trouble::none) {
      SLUICE_KILL_POINT("store.committed");
      places_.clear();
      std::vector<Settled> settled;
      settled.reserve(tickets_.size());
      for (const std::uint64_t ticket : tickets_) settled.push_back({ticket, Fate::stored});
      settle(settled, batch_);
      batch_.clear();
      tickets_.clear();
    } else {
      drop_what_is_not_durable();
    }
  }
  (void)do_jobs();
  file_->maintain();
  const std::lock_guard lock(mutex_);
  counts_.bytes = file_->bytes();
  counts_.pruned = file_->pruned();
}

void Store::take_over(const Commit& commit) {
  said(commit.sentence);
  const std::lock_guard lock(mutex_);
  counts_.stored += commit.stored;
  counts_.duplicates += commit.duplicates;
  counts_.last_row = file_->last_row();  // before anybody hears of it
  commit.trouble == Trouble::none ? ++counts_.commits : ++counts_.troubles;
}

void Store::settle(std::span<const Settled> settled, std::span<Record> records) {
  if (settled_ && !settled.empty()) settled_(settled, records);
}

void Store::drop_what_is_not_durable() {
  std::vector<Settled> settled;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < batch_.size(); ++i) {
    if (!batch_[i].durable) {
      settled.push_back({tickets_[i], Fate::dropped});
      continue;
    }
    if (kept != i) {
      batch_[kept] = std::move(batch_[i]);
      tickets_[kept] = tickets_[i];
    }
    ++kept;
  }
  batch_.resize(kept);
  tickets_.resize(kept);
  {
    const std::lock_guard lock(mutex_);
    counts_.dropped += settled.size();
  }
  settle(settled, {});
}

// After a start on a full disk.
bool Store::open_again() {
  auto file = StoreFile::open(options_.file);
  if (!file) {
    said(file.error().message);
    return false;
  }
  said({});
  const std::lock_guard lock(mutex_);
  file_ = std::move(file).value();
  return true;
}

bool Store::do_jobs() {
  std::deque<Job> jobs;
  {
    const std::lock_guard lock(mutex_);
    jobs.swap(jobs_);
  }
  for (Job& job : jobs) job(*file_);
  return !jobs.empty();
}

// Reports what is wrong when it begins and when it is over, not each time.
void Store::said(const std::string& trouble) {
  bool begins = false, over = false;
  {
    const std::lock_guard lock(mutex_);
    begins = counts_.trouble.empty() && !trouble.empty();
    over = !counts_.trouble.empty() && trouble.empty();
    counts_.trouble = trouble;
  }
  if (!options_.file.report) return;
  if (begins) {
    options_.file.report(
        trouble + "; durable messages wait at their publishers, others are dropped until it works",
        true);
  }
  if (over) options_.file.report("recording goes on", false);
}

}  // namespace sluice::recorder
