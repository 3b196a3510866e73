// Micro-benchmarks of one process's own work: what loan + publish and take + release cost, by number
// of readers and slot size. All ends live in one process and one thread, so no cache line changes
// its core: these are instruction paths, not latencies. Each reader has an arena of its own, as
// readers in processes of their own have.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "shm/arena.hpp"
#include "shm/publisher.hpp"
#include "shm/reader.hpp"

namespace sluice::bench {
namespace {

template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    std::abort();
  }
  return std::move(*result);
}

std::shared_ptr<const shm::View> view_of(const shm::Arena& arena) {
  const shm::UniqueFd fd = must(arena.share());
  return std::make_shared<const shm::View>(must(shm::View::open(fd.get(), "an arena")));
}

struct Stream {
  shm::PublisherPtr publisher;
  std::vector<shm::ReaderPtr> readers;
  std::shared_ptr<shm::Arena> wakes = must(shm::Arena::create("micro-wakes"));

  Stream(std::uint64_t slot_bytes, std::size_t reader_count, DeliveryMode mode, bool stamp) {
    StreamOptions options;
    options.lanes[0].depth = 64;
    options.pools = {{slot_bytes}};
    options.max_held = 256;
    options.max_readers = 128;
    options.stamp_publish_time = stamp;
    publisher = must(shm::Publisher::create(options));
    const shm::StreamDescriptors descriptors = must(publisher->share());
    for (std::size_t i = 0; i < reader_count; ++i) {
      const SubscriptionOptions subscription{.mode = mode, .max_held = 1};
      auto arena = must(shm::Arena::create("micro-reader", 1 << 16));
      auto reader = must(shm::Reader::open(descriptors, subscription, arena));
      shm::AttachRequest request;
      request.options = subscription;
      request.reader_arena = view_of(*arena);
      request.page_offset = reader->page_offset();
      request.wake_arena = wakes;
      const shm::Admission admission = must(publisher->attach(std::move(request)));
      if (auto started = reader->start(view_of(*wakes), admission.wake_offset); !started) {
        std::abort();
      }
      readers.push_back(std::move(reader));
    }
  }
};

// Readers that want the newest and are busy with something else: none asleep, none in the way.
void loan_publish(benchmark::State& state) {
  Stream stream{static_cast<std::uint64_t>(state.range(1)),
                static_cast<std::size_t>(state.range(0)), DeliveryMode::latest,
                state.range(2) != 0};
  for (auto _ : state) {
    Loan loan = stream.publisher->loan(64);
    if (!loan) state.SkipWithError(to_string(loan.outcome()));
    stream.publisher->publish(std::move(loan));
  }
}
BENCHMARK(loan_publish)
    ->ArgNames({"readers", "slot", "stamp"})
    ->ArgsProduct({{0, 1, 16, 64}, {64, 1 << 20}, {0, 1}});

// One message at a time through one reader; the publisher's half is loan_publish above.
void loan_publish_take_release(benchmark::State& state) {
  const auto mode = static_cast<DeliveryMode>(state.range(0));
  Stream stream{64, 1, mode, state.range(1) != 0};
  for (auto _ : state) {
    stream.publisher->publish(stream.publisher->loan(64));
    Sample sample = stream.readers[0]->take();
    if (!sample) state.SkipWithError(to_string(sample.outcome()));
    stream.readers[0]->acknowledge(sample);
  }
}
BENCHMARK(loan_publish_take_release)
    ->ArgNames({"mode", "stamp"})
    ->ArgsProduct({{1, 2, 3}, {0, 1}});

void take_when_empty(benchmark::State& state) {
  Stream stream{64, 1, DeliveryMode::next, true};
  for (auto _ : state) benchmark::DoNotOptimize(stream.readers[0]->take().outcome());
}
BENCHMARK(take_when_empty);

}  // namespace
}  // namespace sluice::bench

BENCHMARK_MAIN();
