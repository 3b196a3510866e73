// A process that has gone mad: it joins properly, tries to break out, then writes at random over
// all shared memory that it can write, and at the end exits.
//
//   scribbler reader    <socket> <delivery mode> <works on: 0|1> <seed> <milliseconds> <user id>
//   scribbler claimer   …                         the same, but writes only over its claims
//   scribbler publisher <socket> <readers>       <works on: 0|1> <seed> <milliseconds> <user id>
//
// What it can write it learns from the kernel (/proc/self/maps). Over the socket it sends how many
// of its attempts to break out were not refused, when it starts. `works on`: it goes on taking or
// publishing, in a thread of its own, over its own ruins; that may well end it, and only it.
#include "tests/process/scribble.hpp"
#include "tests/support/process_link.hpp"

#include <grp.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::test {
namespace {

struct Job {
  int socket;
  unsigned variant;  // delivery mode, or number of readers
  bool works_on;
  unsigned seed;
  std::uint64_t ms;
  uid_t user;
};

bool become(uid_t user) {
  return user == ::getuid() ||
         (::setgroups(0, nullptr) == 0 && ::setgid(user) == 0 && ::setuid(user) == 0);
}

std::vector<Mapping> writable_memory() {
  std::vector<Mapping> all = shared_mappings();
  std::erase_if(all, [](const Mapping& m) { return !m.writable; });
  return all;
}

// Whoever owns a memfd can chmod and reopen it, and so can root: the seals must hold then.
int break_out(const std::vector<int>& fds, uid_t user) {
  int holes = 0;
  for (const int fd : fds) holes += break_in(fd, user == 0);
  if (user != 0) holes += break_in(::getppid());
  for (const Mapping& m : shared_mappings()) {
    if (m.writable) continue;
    holes += ::mprotect(m.data(), m.size(), PROT_READ | PROT_WRITE) == 0;
    holes += heeds_advice(m.data(), m.size()) && ::madvise(m.data(), m.size(), MADV_REMOVE) == 0;
  }
  return holes;
}

int go_mad(const Job& job, const std::vector<Mapping>& mine) {
  if (mine.empty()) return 3;
  const std::uint64_t until = monotonic_ns() + job.ms * 1'000'000;
  (void)scribble(mine, job.seed, until, [] {});
  return 0;
}

int be_reader(const Job& job, bool only_claims) {
  auto arena = must(shm::Arena::create("mad-readers", 65'536));
  const auto stream = must(receive_stream(job.socket));
  SubscriptionOptions options;
  options.mode = static_cast<DeliveryMode>(job.variant);
  auto reader = must(shm::Reader::open(stream, options, arena));
  must(send_request(job.socket, options, *arena, reader->page_offset()));
  const Message answer = must(receive_message(job.socket));
  WireAdmission wire{};
  if (answer.fds.empty() || answer.bytes.size() != sizeof wire) return 4;
  std::memcpy(&wire, answer.bytes.data(), sizeof wire);
  auto wakes = must(shm::View::open(answer.fds[0].get(), "a wake arena", wire.arena_bytes));
  must(reader->start(std::make_shared<const shm::View>(std::move(wakes)), wire.wake_offset));

  std::vector<int> fds{stream.control.get(), answer.fds[0].get()};
  for (const shm::UniqueFd& pool : stream.pools) fds.push_back(pool.get());
  must(send_value(job.socket, break_out(fds, job.user)));
  (void)must(receive_value<int>(job.socket));

  std::vector<Mapping> mine = writable_memory();
  if (only_claims && !mine.empty()) {
    const std::uint32_t slots = reader->geometry().slot_limit;
    mine[0].begin += reader->page_offset() + shm::kClaimsOffset;
    mine[0].end = mine[0].begin + shm::claim_pairs(slots) * sizeof(shm::ClaimPair);
  }
  std::jthread worker;
  if (job.works_on) {
    worker = std::jthread{[&] {
      for (;;) {
        Sample sample = reader->take();
        reader->acknowledge(sample);
        sample.release();
        (void)reader->wait(shm::deadline_in(100'000));
      }
    }};
  }
  ::_exit(go_mad(job, mine));
}

int be_publisher(const Job& job) {
  auto wakes = must(shm::Arena::create("mad-wakes", 65'536));
  StreamOptions options;
  options.lanes = {{16, 8}, {4, 0}};
  options.pools = {{64, 0}, {70'000, 8}};
  options.max_references = 2;
  options.max_held = 4 * job.variant;
  options.full_timeout_ns = 1'000'000;
  auto publisher = must(shm::Publisher::create(options));
  for (unsigned i = 0; i < job.variant; ++i) must(admit_over(job.socket, *publisher, wakes));
  for (int i = 0; i < 4; ++i) {
    Loan loan = publisher->loan(i % 2 == 0 ? 64 : 5000);
    if (loan) (void)publisher->publish(std::move(loan));
  }
  must(send_value(job.socket, 0));
  (void)must(receive_value<int>(job.socket));
  std::jthread worker;
  if (job.works_on) {
    worker = std::jthread{[&] {
      for (unsigned i = 0;; ++i) {
        Loan loan = publisher->loan(i % 4 == 0 ? 5000 : 64, static_cast<Priority>(i % 2));
        if (loan) (void)publisher->publish(std::move(loan));
        publisher->reap();
        if (i % 16 == 0) ::usleep(100);
      }
    }};
  }
  ::_exit(go_mad(job, writable_memory()));
}

}  // namespace
}  // namespace sluice::test

int main(int argc, char** argv) {
  using namespace sluice::test;
  if (argc != 8) {
    std::fprintf(stderr, "usage: see the head of scribbler.cpp\n");
    return 2;
  }
  const std::string role = argv[1];
  const auto number = [&](int i) { return std::stoul(argv[i]); };
  const Job job{static_cast<int>(number(2)),
                static_cast<unsigned>(number(3)),
                number(4) != 0,
                static_cast<unsigned>(number(5)),
                number(6),
                static_cast<uid_t>(number(7))};
  if (!become(job.user)) return 2;
  return role == "publisher" ? be_publisher(job) : be_reader(job, role == "claimer");
}
