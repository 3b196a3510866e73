// The floor: what two processes can do that trust each other completely and need nothing else.
//
//   raw-line    one cache line in shared memory; the first word of the message is the flag. One
//   transfer of
//               the line per message, no queue, 64 B only.
//   raw-ring    a ring of slots with a head (written by the sender) and a tail per reader, each in
//   a line
//               of its own. The reader polls the head. The slot itself is the message.
//   raw-futex   the same ring; a reader that finds nothing announces that it sleeps and waits in a
//   futex.
//               The sender makes a system call only when somebody sleeps.
//
// There is no discovery, no rights, no protection: all processes map everything writable.
#include "tests/bench/cell.hpp"
#include "tests/bench/message.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <new>
#include <stdexcept>
#include <system_error>

namespace sluice::bench {
namespace {

constexpr std::size_t kLine = 64;

std::byte* shared_memory(std::size_t bytes) {
  const int fd = memfd_create("bench-raw", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    throw std::system_error(errno, std::generic_category(), "shared memory");
  }
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  return static_cast<std::byte*>(memory);
}

// ---- raw-line

struct alignas(kLine) Line {
  std::array<std::atomic<std::uint64_t>, 8> words{};
};

class LineSender {
 public:
  explicit LineSender(Line& line) : line_(line) {}
  void connect() {}
  std::span<std::byte> prepare(std::size_t) { return draft_; }
  void send() {
    for (std::size_t i = 1; i < line_.words.size(); ++i) {
      // relaxed: the flag below publishes them
      line_.words[i].store(load_word(draft_.data(), i), std::memory_order_relaxed);
    }
    // sync line (sender): the words before the flag that the receiver acquires
    line_.words[0].store(load_word(draft_.data(), 0), std::memory_order_release);
  }

 private:
  Line& line_;
  alignas(kLine) std::array<std::byte, kLine> draft_{};
};

class LineReceiver {
 public:
  explicit LineReceiver(Line& line) : line_(line) {}
  void connect() {}
  std::span<const std::byte> poll() {
    // sync line (receiver): the words are complete when the flag has changed
    const std::uint64_t flag = line_.words[0].load(std::memory_order_acquire);
    if (flag == previous_) return {};
    previous_ = flag;
    return {reinterpret_cast<const std::byte*>(&line_), sizeof line_};
  }
  std::span<const std::byte> wait() { throw std::runtime_error("raw-line only polls"); }
  void release() {}

 private:
  Line& line_;
  std::uint64_t previous_ = 0;
};

class RawLine {
 public:
  explicit RawLine(const CellContext& cell)
      : lines_(new (shared_memory(sizeof(Line) * 4)) Line[4]) {
    if (cell.workload.message_bytes != kLine || cell.workload.kind != Kind::kPingPong) {
      throw std::runtime_error("raw-line carries 64 B ping-pong only");
    }
  }
  void enter(unsigned) {}
  // Every other line: processors fetch lines in pairs.
  auto sender(const Channel& channel) {
    return std::make_unique<LineSender>(lines_[channel.index * 2]);
  }
  auto receiver(const Channel& channel, unsigned) {
    return std::make_unique<LineReceiver>(lines_[channel.index * 2]);
  }
  std::vector<pid_t> daemons() { return {}; }

 private:
  Line* lines_;
};

// ---- raw-ring, raw-futex

struct RingReader {
  alignas(2 *
          kLine) std::atomic<std::uint64_t> tail{0};  // messages released; written by the reader
  alignas(2 * kLine) std::atomic<std::uint32_t> asleep{0};  // 1: wake me; futex word
};

struct Ring {
  alignas(2 * kLine) std::atomic<std::uint64_t> head{0};  // messages sent; written by the sender
  std::array<RingReader, kMaxRoles> readers;
  // Here follow `depth` slots of `stride` bytes.
};

struct RingView {
  Ring* ring;
  std::byte* slots;
  std::size_t stride;
  std::uint64_t depth;
  std::size_t message_bytes;
  unsigned readers;
  bool sleeping_readers;

  std::span<std::byte> slot(std::uint64_t index) const {
    return {slots + (index % depth) * stride, message_bytes};
  }
};

class RingSender {
 public:
  explicit RingSender(const RingView& view) : view_(view) {}
  void connect() {}

  std::span<std::byte> prepare(std::size_t) {
    for (; head_ - slowest_ == view_.depth; look_at_readers()) {
    }
    return view_.slot(head_);
  }

  void send() {
    ++head_;
    if (!view_.sleeping_readers) {
      // sync ring (sender): the message before the head that the receiver acquires
      view_.ring->head.store(head_, std::memory_order_release);
      return;
    }
    // sync sleep (sender): store the head, then look for sleepers; the reader does the reverse.
    // Both sequentially consistent, so at least one of them sees the other.
    view_.ring->head.store(head_, std::memory_order_seq_cst);
    for (unsigned i = 0; i < view_.readers; ++i) {
      std::atomic<std::uint32_t>& asleep = view_.ring->readers[i].asleep;
      if (asleep.load(std::memory_order_seq_cst) == 0) continue;
      // relaxed: the system call orders it, and a reader looks at the head again anyway
      asleep.store(0, std::memory_order_relaxed);
      wake_all(asleep);
    }
  }

 private:
  void look_at_readers() {
    slowest_ = head_;
    for (unsigned i = 0; i < view_.readers; ++i) {
      // sync slot (sender): what the reader read from the slot is read before it is overwritten
      slowest_ = std::min(slowest_, view_.ring->readers[i].tail.load(std::memory_order_acquire));
    }
  }

  const RingView view_;
  std::uint64_t head_ = 0;
  std::uint64_t slowest_ = 0;  // the slowest reader's tail when last looked at
};

class RingReceiver {
 public:
  RingReceiver(const RingView& view, unsigned reader)
      : view_(view), me_(view.ring->readers[reader]) {}
  void connect() {}

  std::span<const std::byte> poll() {
    if (tail_ == head_) {
      // sync ring (receiver): messages below the head are complete
      head_ = view_.ring->head.load(std::memory_order_acquire);
      if (tail_ == head_) return {};
    }
    return view_.slot(tail_);
  }

  std::span<const std::byte> wait() {
    const std::span<const std::byte> message = poll();
    if (!message.empty()) return message;
    // sync sleep (reader): announce it, then look once more
    me_.asleep.store(1, std::memory_order_seq_cst);
    if (view_.ring->head.load(std::memory_order_seq_cst) == tail_) sleep_while_equal(me_.asleep, 1);
    // relaxed: only a hint that saves the sender a system call
    me_.asleep.store(0, std::memory_order_relaxed);
    return poll();
  }

  void release() {
    // sync slot (reader): the slot was read before the sender sees this
    me_.tail.store(++tail_, std::memory_order_release);
  }

 private:
  const RingView view_;
  RingReader& me_;
  std::uint64_t tail_ = 0;
  std::uint64_t head_ = 0;  // when last looked at
};

class RawRing {
 public:
  explicit RawRing(const CellContext& cell) {
    for (const Channel& channel : cell.channels) {
      const std::size_t stride = (channel.message_bytes + kLine - 1) / kLine * kLine;
      std::byte* const memory = shared_memory(sizeof(Ring) + stride * channel.depth);
      rings_.push_back({.ring = new (memory) Ring,
                        .slots = memory + sizeof(Ring),
                        .stride = stride,
                        .depth = channel.depth,
                        .message_bytes = channel.message_bytes,
                        .readers = channel.readers,
                        .sleeping_readers = channel.waiting == Waiting::kBlock});
    }
  }
  void enter(unsigned) {}
  auto sender(const Channel& channel) {
    return std::make_unique<RingSender>(rings_[channel.index]);
  }
  auto receiver(const Channel& channel, unsigned reader) {
    return std::make_unique<RingReceiver>(rings_[channel.index], reader);
  }
  std::vector<pid_t> daemons() { return {}; }

 private:
  std::vector<RingView> rings_;
};

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  using namespace sluice::bench;
  return cell_main(argc, argv,
                   {{"raw-line", make_peer<RawLine>()},
                    {"raw-ring", make_peer<RawRing>()},
                    {"raw-futex", make_peer<RawRing>()}});
}
