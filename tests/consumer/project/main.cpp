// One frame through a stream, with the installed headers and libraries and nothing else of Sluice.
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <future>
#include <utility>

#include "sluice/frame.hpp"
#include "sluice/publisher.hpp"
#include "sluice/subscriber.hpp"

namespace {

constexpr std::uint32_t kSide = 8;

int fail(const char* what, const char* why) {
  std::fprintf(stderr, "%s: %s\n", what, why);
  return 1;
}

int run(int publisher_end, int subscriber_end) {
  const std::uint64_t bytes = sluice::frame_bytes(sluice::PixelFormat::grey, kSide, kSide);
  sluice::StreamOptions options;
  options.label = "consumer";
  options.pools = {{.slot_bytes = bytes}};
  auto publisher = sluice::Publisher::create(options);
  if (!publisher) return fail("create", publisher.error().message.c_str());

  auto accepted = std::async(std::launch::async, [&] { return publisher->accept(publisher_end); });
  auto subscriber = sluice::Subscriber::connect(subscriber_end, {});
  if (auto result = accepted.get(); !result) return fail("accept", result.error().message.c_str());
  if (!subscriber) return fail("connect", subscriber.error().message.c_str());

  sluice::Loan loan = publisher->loan(bytes);
  if (!loan) return fail("loan", sluice::to_string(loan.outcome()));
  if (sluice::lay_out_frame(loan, sluice::PixelFormat::grey, kSide, kSide) == nullptr) {
    return fail("lay_out_frame", "the loan is too small");
  }
  const sluice::Outcome published = publisher->publish(std::move(loan));
  if (published != sluice::Outcome::ok) return fail("publish", sluice::to_string(published));

  const sluice::Outcome waited = subscriber->wait_for(std::chrono::seconds{10});
  if (waited != sluice::Outcome::ok) return fail("wait", sluice::to_string(waited));
  const sluice::Sample sample = subscriber->take();
  if (!sample) return fail("take", sluice::to_string(sample.outcome()));
  const auto frame = sluice::view_frame(sample);
  if (!frame) return fail("view_frame", frame.error().message.c_str());
  if (frame->header.width != kSide) return fail("view_frame", "another frame");
  std::puts("one frame arrived");
  return 0;
}

}  // namespace

int main() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail("socketpair", std::strerror(errno));
  }
  const int code = run(ends[0], ends[1]);
  ::close(ends[0]);
  ::close(ends[1]);
  return code;
}
