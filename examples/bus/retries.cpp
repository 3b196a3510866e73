// A dispatcher: handlers that fail are tried again, and what fails in the end becomes a dead
// letter.
#include <chrono>
#include <cstdio>
#include <sluice/dispatcher.hpp>
#include <sluice/message_publisher.hpp>
#include <string>

namespace {

int fail(const std::string& sentence) { return std::fprintf(stderr, "%s\n", sentence.c_str()), 1; }

}  // namespace

int main() {
  using namespace std::chrono_literals;
  using sluice::Handled;

  auto node = sluice::Node::create({.name = "printer"});
  if (!node) return fail(node.error().message);
  auto dispatcher = sluice::Dispatcher::create(*node);
  if (!dispatcher) return fail(dispatcher.error().message);

  int printed = 0;
  int dead = 0;
  sluice::HandlerOptions options;
  options.subscription.subscription.mode = sluice::DeliveryMode::reliable;
  options.retry.attempts = 3;
  options.retry.first_delay_ns = 10'000'000;
  const auto print = [&](const sluice::Message& message) -> sluice::HandlerResult {
    if (message.text() == "nonsense") return {Handled::reject, "no page"};
    if (message.text() == "difficult") return {Handled::retry, "out of paper"};
    std::printf("printed: %s\n", std::string{message.text()}.c_str());
    ++printed;
    return Handled::ok;
  };
  auto pages = (*dispatcher)->on("print/pages", print, options);
  if (!pages) return fail(pages.error().message);
  const auto bury = [&](const sluice::Message& message) -> sluice::HandlerResult {
    std::printf("dead: %s\n", std::string{message.text()}.c_str());
    if (++dead == 2) (*dispatcher)->stop();
    return Handled::ok;
  };
  sluice::HandlerOptions history;
  history.subscription.subscription.history = 16;  // the topic comes with its first dead letter
  auto letters = (*dispatcher)->on("$dlq/print/pages", bury, history);
  if (!letters) return fail(letters.error().message);

  auto publisher = sluice::MessagePublisher::create(*node, "print/pages");
  if (!publisher) return fail(publisher.error().message);
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (publisher->stream().subscriber_count() == 0 &&
         std::chrono::steady_clock::now() < deadline) {
    (void)(*dispatcher)->step(std::chrono::steady_clock::now() + 1ms);
  }
  for (const char* page : {"page 1", "nonsense", "difficult", "page 2"}) {
    const sluice::Outcome outcome = publisher->publish(page);
    if (outcome != sluice::Outcome::ok) return fail(to_string(outcome));
  }
  // No thread is needed where the dispatcher does all there is to do.
  (*dispatcher)->after(20s, [&] { (*dispatcher)->stop(); });
  if (auto ran = (*dispatcher)->run(); !ran) return fail(ran.error().message);
  const auto counts = (*dispatcher)->counts();
  std::printf("%d printed, %d dead, %llu retries\n", printed, dead,
              static_cast<unsigned long long>(counts.retried));
  return printed == 2 && dead == 2 ? 0 : 1;
}
