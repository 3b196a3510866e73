#include "tests/conformance/ways_to_wait.hpp"

#include "shm/wait_set.hpp"
#include "tests/support/traffic.hpp"

#include <poll.h>

#include <thread>

namespace sluice::test {
namespace {

class Spinning : public Waiter {
 public:
  shm::ReaderPtr attach(LocalLink& link, const SubscriptionOptions& options) override {
    return link.attach(options);
  }
  Outcome wait(shm::Reader& reader, std::uint64_t deadline_ns) override {
    while (!reader.ready() && reader.over() == Outcome::ok) {
      if (shm::now_ns() >= deadline_ns) return Outcome::timeout;
      std::this_thread::yield();
    }
    return Outcome::ok;
  }
};

class Sleeping : public Waiter {
 public:
  shm::ReaderPtr attach(LocalLink& link, const SubscriptionOptions& options) override {
    SubscriptionOptions without_spinning = options;
    without_spinning.spin_ns = 0;
    return link.attach(without_spinning);
  }
  Outcome wait(shm::Reader& reader, std::uint64_t deadline_ns) override {
    const Outcome outcome = reader.wait(deadline_ns);
    return outcome == Outcome::timeout ? outcome : Outcome::ok;
  }
};

// `crowd`: quiet readers in the same set.
class InASet : public Waiter {
 public:
  explicit InASet(std::size_t crowd) : set_(must(shm::WaitSet::create())), quiet_(quiet_stream()) {
    for (std::size_t i = 0; i < crowd; ++i) {
      crowd_.push_back(quiet_.attach({.max_held = 1}, must(set_.event())));
      set_.add(*crowd_.back());
    }
  }
  shm::ReaderPtr attach(LocalLink& link, const SubscriptionOptions& options) override {
    shm::ReaderPtr reader = link.attach(options, must(set_.event()));
    set_.add(*reader);
    return reader;
  }
  Outcome wait(shm::Reader&, std::uint64_t deadline_ns) override { return set_.wait(deadline_ns); }

 protected:
  shm::WaitSet set_;

 private:
  static StreamOptions quiet_stream() {
    StreamOptions options = small_stream(1);
    options.max_readers = kMaxReaders;
    options.max_held = kMaxReaders;
    return options;
  }
  LocalLink quiet_;
  std::vector<shm::ReaderPtr> crowd_;
};

class Polling : public InASet {
 public:
  Polling() : InASet(0) {}
  Outcome wait(shm::Reader& reader, std::uint64_t deadline_ns) override {
    while (!reader.ready() && reader.over() == Outcome::ok) {
      const std::uint64_t now = shm::now_ns();
      if (now >= deadline_ns) return Outcome::timeout;
      if (set_.arm()) {
        pollfd p{set_.fd(), POLLIN, 0};
        (void)::poll(&p, 1, static_cast<int>((deadline_ns - now) / 1'000'000));
      }
      set_.disarm();
    }
    return Outcome::ok;
  }
};

}  // namespace

const char* name_of(WaitKind kind) {
  switch (kind) {
    case WaitKind::spin:
      return "Spin";
    case WaitKind::futex:
      return "Futex";
    case WaitKind::waitv:
      return "Waitv";
    case WaitKind::event:
      return "Event";
    case WaitKind::poll:
      return "Poll";
  }
  return "?";
}

std::unique_ptr<Waiter> make_waiter(WaitKind kind) {
  switch (kind) {
    case WaitKind::spin:
      return std::make_unique<Spinning>();
    case WaitKind::futex:
      return std::make_unique<Sleeping>();
    case WaitKind::waitv:
      return shm::has_futex_waitv() ? std::make_unique<InASet>(3) : nullptr;
    case WaitKind::event:
      return std::make_unique<InASet>(shm::kFutexWaitvMax);
    case WaitKind::poll:
      return std::make_unique<Polling>();
  }
  return nullptr;
}

}  // namespace sluice::test
