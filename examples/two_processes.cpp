// One process writes, another reads in place; a socket between them is all they need.
//
//   two_processes        sends ten messages to a child process and ends
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <sluice/publisher.hpp>
#include <sluice/subscriber.hpp>

namespace {

constexpr std::uint64_t kMessages = 10;

int write_messages(int socket) {
  sluice::StreamOptions options;
  options.label = "greetings";
  options.pools = {{64}};  // slots of 64 bytes
  auto publisher = sluice::Publisher::create(options);
  if (!publisher) return std::fprintf(stderr, "%s\n", publisher.error().message.c_str()), 1;
  if (auto accepted = publisher->accept(socket); !accepted) {
    return std::fprintf(stderr, "%s\n", accepted.error().message.c_str()), 1;
  }
  for (std::uint64_t i = 1; i <= kMessages; ++i) {
    sluice::Loan loan = publisher->loan(64);
    if (!loan) return std::fprintf(stderr, "loan: %s\n", to_string(loan.outcome())), 1;
    std::snprintf(reinterpret_cast<char*>(loan.data()), 64, "message %llu",
                  static_cast<unsigned long long>(i));
    publisher->publish(std::move(loan));
  }
  return 0;  // the publisher's end is the stream's end
}

int read_messages(int socket) {
  auto subscriber = sluice::Subscriber::connect(socket, {.mode = sluice::DeliveryMode::reliable});
  if (!subscriber) return std::fprintf(stderr, "%s\n", subscriber.error().message.c_str()), 1;
  std::uint64_t taken = 0;
  for (;;) {
    sluice::Sample sample = subscriber->take();
    if (sample) {
      const auto text = sample.bytes();  // in the publisher's memory, read-only
      std::printf("%.*s\n", static_cast<int>(text.size()),
                  reinterpret_cast<const char*>(text.data()));
      subscriber->acknowledge(sample);
      ++taken;
    } else if (sample.outcome() == sluice::Outcome::ended) {
      return taken == kMessages ? 0 : 1;
    } else {
      subscriber->wait_for(std::chrono::seconds{1});
    }
  }
}

}  // namespace

int main() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends.data()) != 0) return 1;
  const pid_t child = ::fork();
  if (child < 0) return 1;
  if (child == 0) return read_messages(ends[1]);
  const int written = write_messages(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return written == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}
