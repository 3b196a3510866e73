// A reader on a stream that was valid when it was opened, whose publisher then writes what it
// likes.
//
// The input is a program: the reader's calls, and between them writes into the control segment
// behind the header, into the payload slots, and whole entries that look right in most respects.
// The publisher object itself is not asked for anything meanwhile: its own pages are corrupt.
// Whatever is written, each sample lies inside a pool, nothing beyond the reader's own page is
// touched, at most max_held samples exist, and each call returns.
#include "shm/clock.hpp"
#include "shm/layout.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/process/maps.hpp"
#include "tests/support/local_link.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace sluice::fuzz {
namespace {

using test::LocalLink;
using test::Mapping;
using test::must;
using test::shared_mappings;

constexpr std::uint32_t kMaxHeld = 4;
constexpr int kMostSteps = 256;
constexpr int kMostPatience = 3;  // resolves that may wait 20 ms for a publisher that decides
constexpr std::uint64_t kTouchAtMost = 512;
constexpr std::uint64_t kForeignBytes = 8192;

StreamOptions stream_options() {
  StreamOptions options;
  options.lanes = {{8, 8}, {4, 4}};
  options.pools = {{128, 0}, {2000, 20}};
  options.max_references = 2;
  options.max_held = 3 * kMaxHeld;
  return options;
}

// Set up once; the publisher's pages are put back after each input.
struct World {
  LocalLink link{stream_options()};
  std::byte* control = const_cast<std::byte*>(link.publisher().control());
  std::vector<Mapping> pools;
  std::vector<std::byte> saved_control;
  std::vector<std::vector<std::byte>> saved_pools;
  shm::Cell canary;

  World() {
    add_foreign_pool();
    for (std::uint32_t i = 0; i < 20; ++i) {
      Loan loan =
          link.publisher().loan(16 + i * 50, i % 3 == 0 ? Priority::high : Priority::critical);
      require(static_cast<bool>(loan), "the first messages find slots");
      std::memset(loan.data(), static_cast<int>(i), loan.size());
      require(link.publisher().publish(std::move(loan)) == Outcome::ok, "they are published");
    }
    for (const Mapping& m : shared_mappings("/memfd:sluice-pool")) {
      if (m.writable) pools.push_back(m);
    }
    require(pools.size() == 2, "the publisher's pools are found");
    saved_control.assign(control, control + link.publisher().geometry().control_bytes);
    for (const Mapping& m : pools) saved_pools.emplace_back(m.data(), m.data() + m.size());
    {
      // Three readers' pages, then the canary: later readers get the same three again.
      auto readers = attach();
      canary = must(link.reader_arena()->allocate(4096));
      for (std::uint32_t id : ids) link.publisher().detach(id);
    }
  }

  // As a reader's mapping it is found like the others.
  void add_foreign_pool() {
    const shm::UniqueFd file{::memfd_create("sluice-pool-foreign", MFD_CLOEXEC)};
    require(::ftruncate(file.get(), kForeignBytes) == 0, "the foreign memory is made");
    const std::string path = "/proc/self/fd/" + std::to_string(file.get());
    const shm::UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    (void)must(link.publisher().add_foreign_pool({fd.get(), kForeignBytes, nullptr}));
  }

  std::array<std::uint32_t, 3> ids{};
  std::array<shm::ReaderPtr, 3> attach() {
    std::array<shm::ReaderPtr, 3> readers;
    for (std::size_t i = 0; i < readers.size(); ++i) {
      SubscriptionOptions options;
      options.mode = static_cast<DeliveryMode>(1 + i);
      options.max_held = kMaxHeld;
      options.history = 8;
      options.spin_ns = 0;
      readers[i] = link.attach(options);
      ids[i] = link.last_reader_id();
    }
    return readers;
  }

  void put_back() {
    std::memcpy(control, saved_control.data(), saved_control.size());
    for (std::size_t i = 0; i < pools.size(); ++i) {
      std::memcpy(pools[i].data(), saved_pools[i].data(), saved_pools[i].size());
    }
    const bool clean = std::all_of(canary.data, canary.data + canary.bytes,
                                   [](std::byte b) { return b == std::byte{0}; });
    require(clean, "a reader writes into nothing but its own page");
  }
};

class Run {
 public:
  Run(World& world, Input in) : world_(world), in_(in), readers_(world.attach()) {
    for (Mapping& m : shared_mappings("/memfd:sluice-pool")) {
      if (!m.writable) views_.push_back(std::move(m));
    }
  }

  void go() {
    for (int step = 0; step < kMostSteps && !in_.empty(); ++step) one();
    samples_.clear();
    for (const shm::ReaderPtr& reader : readers_) require(reader->held() == 0, "all is released");
    for (shm::ReaderPtr& reader : readers_) reader.reset();
    for (const std::uint32_t id : world_.ids) world_.link.publisher().detach(id);
    world_.put_back();
  }

 private:
  void one() {
    const std::uint8_t what = in_.byte();
    const std::size_t which = what / 16 % readers_.size();
    shm::Reader& reader = *readers_[which];
    switch (what % 16) {
      case 0:
      case 1:
      case 2:
        keep(which, reader.take());
        break;
      case 3: {
        std::array<Sample, 3> batch;
        const std::size_t n = reader.take(batch);
        for (std::size_t i = 0; i < n; ++i) keep(which, std::move(batch[i]));
        break;
      }
      case 4:
        resolve(which);
        break;
      case 5:
        if (!samples_.empty()) samples_.erase(samples_.begin() + in_.below(count()));
        break;
      case 6:
        if (!samples_.empty()) {
          const Held& held = samples_[in_.below(count())];
          readers_[held.reader]->acknowledge(held.sample);
        }
        break;
      case 7:
        if (!samples_.empty()) look_at(samples_[in_.below(count())].sample);
        break;
      case 8:
        (void)reader.ready();
        (void)reader.over();
        (void)reader.waiting();
        break;
      case 9:
        (void)reader.wait(shm::now_ns() + in_.byte() * 100u);
        break;
      case 10:
      case 11:
        write_control();
        break;
      case 12:
        write_pool();
        break;
      default:
        write_entry();
        break;
    }
    for (const shm::ReaderPtr& r : readers_) require(r->held() <= kMaxHeld, "quotas are kept");
  }

  struct Held {
    std::size_t reader;
    Sample sample;
  };
  [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(samples_.size()); }

  void keep(std::size_t reader, Sample sample) {
    if (!sample) return;
    look_at(sample);
    samples_.push_back({reader, std::move(sample)});
  }

  // Reads the payload, and checks where it and what follows it lie.
  void look_at(const Sample& sample) {
    const auto view = std::find_if(views_.begin(), views_.end(), [&](const Mapping& m) {
      return m.contains(sample.data(), sample.size());
    });
    require(view != views_.end(), "a sample lies inside a pool of its reader");
    unsigned sum = 0;
    const std::uint64_t end = sample.size();
    for (std::uint64_t i = 0; i < std::min(end, kTouchAtMost); ++i) {
      sum += std::to_integer<unsigned>(sample.data()[i]);
      sum += std::to_integer<unsigned>(sample.data()[end - 1 - i]);
    }
    const std::uint32_t references = sample.reference_count();
    require(references <= world_.link.publisher().geometry().max_references,
            "no more references than the stream may have");
    const auto header = sample.user_header();
    const auto lies_in = [&](const std::byte* at, std::uint64_t bytes) {
      return std::any_of(views_.begin(), views_.end(),
                         [&](const Mapping& m) { return m.contains(at, bytes); });
    };
    require(header.data() == nullptr || lies_in(header.data(), header.size()),
            "a user header lies inside a pool");
    for (const std::byte b : header) sum += std::to_integer<unsigned>(b);
    if (references != 0 && header.data() != nullptr) {
      require(lies_in(header.data(),
                      shm::round_up(header.size(), 8) + 8 + references * sizeof(Reference)),
              "references behind a user header lie inside the pool");
    } else if (references != 0 && view->size() != kForeignBytes) {
      require(
          view->contains(sample.data() + shm::round_up(end, 8), 8 + references * sizeof(Reference)),
          "the references lie inside the pool");
    }
    for (std::uint32_t i = 0; i < references + 2; ++i) {
      sum += static_cast<unsigned>(sample.reference_at(i).slot);
    }
    sum += sample.intact() ? 1 : 0;
    touched_ = touched_ + sum;
  }

  void resolve(std::size_t which) {
    const shm::Geometry& g = world_.link.publisher().geometry();
    Reference reference{g.stream_id, in_.hostile(8), in_.below(g.slot_limit + 2), in_.below(3)};
    if (in_.byte() % 2 == 0 && !samples_.empty()) {
      reference = samples_[in_.below(count())].sample.reference();
    }
    if (in_.byte() == 0) reference.slot = static_cast<std::uint32_t>(in_.word());
    if (reference.slot < g.slot_limit) {
      const auto* records =
          reinterpret_cast<const shm::SlotRecord*>(world_.control + g.slots_offset);
      const std::uint64_t word = records[reference.slot].word.load();
      if ((word & 3) == static_cast<std::uint64_t>(shm::SlotState::deciding) &&
          ++patience_ > kMostPatience) {
        return;
      }
    }
    keep(which, readers_[which]->resolve(reference));
  }

  void write_control() {
    const shm::Geometry& g = world_.link.publisher().geometry();
    const std::uint64_t words = (g.control_bytes - shm::kStateOffset) / 8;
    std::uint64_t at = shm::kStateOffset + in_.below(static_cast<std::uint32_t>(words)) * 8u;
    // The words that a reader looks at most: the state, the heads and the tails.
    if (in_.byte() % 2 == 0) {
      at = shm::kHeadOffset + in_.below(8) * 8u;
      if (in_.byte() % 8 == 0) at = shm::kStateOffset;
    }
    auto* word = reinterpret_cast<shm::Word64*>(world_.control + at);
    word->store(in_.hostile(word->load()));
  }

  void write_pool() {
    const Mapping& pool = world_.pools[in_.below(2)];
    std::uint64_t at = in_.below(static_cast<std::uint32_t>(pool.size() / 8)) * 8u;
    // The trailers of what is held.
    if (in_.byte() % 2 == 0 && !samples_.empty()) {
      const Sample& sample = samples_[in_.below(count())].sample;
      for (const Mapping& view : views_) {
        if (!view.contains(sample.data(), sample.size()) || view.size() != pool.size()) continue;
        const auto offset = static_cast<std::uint64_t>(sample.data() - view.data());
        at = std::min<std::uint64_t>(offset + shm::round_up(sample.size(), 8), pool.size() - 8);
      }
    }
    const std::uint64_t value = in_.hostile(2);
    std::memcpy(pool.data() + at, &value, sizeof value);
  }

  // An entry as the next publish would write it, but for what the input changes.
  void write_entry() {
    const shm::Geometry& g = world_.link.publisher().geometry();
    const std::uint32_t lane = in_.below(g.lane_count);
    auto* heads = reinterpret_cast<shm::HeadLine*>(world_.control + shm::kHeadOffset);
    auto* ring = reinterpret_cast<shm::Entry*>(world_.control + g.lanes[lane].ring_offset);
    auto* records = reinterpret_cast<shm::SlotRecord*>(world_.control + g.slots_offset);
    const std::uint64_t sequence = heads->head[lane].load() + 1;
    shm::Entry& entry = ring[sequence & (g.lanes[lane].ring_entries - 1)];
    std::uint32_t slot = in_.below(g.slot_limit);
    std::uint64_t bytes = g.capacity(g.pool_of(slot));
    const std::uint8_t twist = in_.byte();
    if ((twist & 1) != 0) bytes = in_.hostile(bytes) & 0xffff'ffff;
    if ((twist & 6) == 6) slot = static_cast<std::uint32_t>(in_.hostile(g.slot_limit));
    entry.place.store(slot | bytes << 32);
    std::uint64_t meta = (twist & 8) != 0 ? in_.word() : shm::kEntryHasReferences;
    if ((twist & 128) != 0 && slot < g.slots) {
      meta |= write_contents(slot);
      bytes = sizeof(shm::ForeignPlace);
      entry.place.store(slot | bytes << 32);
    }
    entry.meta.store(meta);
    if (slot < g.slot_limit) {
      records[slot].bytes.store((twist & 16) != 0 ? in_.hostile(bytes) : bytes);
      records[slot].meta.store(meta);
      records[slot].word.store(shm::slot_word(sequence, lane, shm::SlotState::live));
    }
    entry.sequence.store((twist & 32) != 0 ? in_.hostile(sequence) : sequence);
    if ((twist & 64) == 0) heads->head[lane].store(sequence);
  }

  // A place in foreign memory and a user header behind it, right but for what the input changes.
  // Returns the flags.
  std::uint64_t write_contents(std::uint32_t slot) {
    const shm::Geometry& g = world_.link.publisher().geometry();
    const shm::PoolGeometry& pool = g.pools[g.pool_of(slot)];
    shm::ForeignPlace place{2, 0, 64, 128};
    shm::UserHeader header{16, 0};
    switch (in_.below(8)) {
      case 0:
        place.pool = static_cast<std::uint32_t>(in_.hostile(2));
        break;
      case 1:
        place.offset = in_.hostile(kForeignBytes);
        break;
      case 2:
        place.bytes = in_.hostile(kForeignBytes);
        break;
      case 3:
        header.bytes = static_cast<std::uint32_t>(in_.hostile(g.capacity(g.pool_of(slot))));
        break;
      default:
        break;
    }
    for (const Mapping& m : world_.pools) {
      if (m.size() != pool.pool_bytes) continue;
      std::byte* const at = m.data() + pool.slot_bytes * (slot - pool.first_slot);
      std::memcpy(at, &place, sizeof place);
      std::memcpy(at + sizeof place, &header, sizeof header);
    }
    return shm::kEntryForeign | (in_.byte() % 2 != 0 ? shm::kEntryHasUserHeader : 0);
  }

  World& world_;
  Input in_;
  std::array<shm::ReaderPtr, 3> readers_;
  std::vector<Mapping> views_;
  std::vector<Held> samples_;
  int patience_ = 0;
  volatile unsigned touched_ = 0;  // so that the reads are made
};

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::fuzz;
  static World world;
  Run{world, Input{data, size}}.go();
  return 0;
}
