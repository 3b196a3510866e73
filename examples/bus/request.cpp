// Asks math/add for a sum, and for two at a time.
//
//   request [NUMBERS]
#include <chrono>
#include <cstdio>
#include <sluice/requester.hpp>
#include <string_view>
#include <thread>

namespace {

void print(const char* what, const sluice::Reply& reply) {
  const std::string_view text = reply ? reply.text() : std::string_view{reply.status.message};
  std::printf("%s: %s %.*s\n", what, to_string(reply.status.code), static_cast<int>(text.size()),
              text.data());
}

}  // namespace

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  const std::string_view numbers = argc > 1 ? argv[1] : "1 2 3.5";

  auto node = sluice::Node::create({.name = "asker"});
  if (!node) return std::fprintf(stderr, "%s\n", node.error().message.c_str()), 1;
  auto requester = sluice::Requester::create(*node, "math/add");
  if (!requester) return std::fprintf(stderr, "%s\n", requester.error().message.c_str()), 1;

  // A service that nobody serves is `unavailable` at once; here it is given time to start.
  const auto patience = std::chrono::steady_clock::now() + 10s;
  while (!(*requester)->is_served() && std::chrono::steady_clock::now() < patience) {
    std::this_thread::sleep_for(10ms);
  }
  const sluice::Reply reply = (*requester)->call(numbers, {.idempotent = true});
  print("sum", reply);
  if (!reply) return 1;

  const std::string_view many = "1 2 3 4 5 6 7 8 9 10";
  const std::string_view nonsense = "one two";
  const auto bytes = [](std::string_view text) { return std::as_bytes(std::span{text}); };
  sluice::Call first = (*requester)->start(bytes(many));
  sluice::Call second = (*requester)->start(bytes(nonsense));
  print("another", first.get());
  const sluice::Reply refused = second.get();
  print("nonsense", refused);
  return refused.status.code == sluice::StatusCode::invalid_argument ? 0 : 1;
}
