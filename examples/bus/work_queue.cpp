// A work queue: each job goes to one of the workers, and counts as done when it was acknowledged.
// Here producer and workers are threads; they may as well be processes.
//
//   work_queue [JOBS]
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sluice/message_publisher.hpp>
#include <sluice/message_subscriber.hpp>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
constexpr const char* kTopic = "jobs/resize";

sluice::Deadline soon() { return std::chrono::steady_clock::now() + 10s; }

int fail(const std::string& sentence) { return std::fprintf(stderr, "%s\n", sentence.c_str()), 1; }

// Takes jobs until `left` are done.
int work(int number, std::atomic<long>& left) {
  auto node = sluice::Node::create({.name = "worker-" + std::to_string(number)});
  if (!node) return fail(node.error().message);
  sluice::MessageSubscriptionOptions options;
  options.subscription.mode = sluice::DeliveryMode::group;
  options.subscription.group = "resizers";
  options.subscription.credits = 2;  // jobs that it may have unacknowledged
  auto jobs = sluice::MessageSubscriber::create(*node, kTopic, options);
  if (!jobs) return fail(jobs.error().message);
  long done = 0;
  while (left > 0) {
    sluice::Message job = jobs->receive(std::chrono::steady_clock::now() + 100ms);
    if (!job) continue;
    // A worker may have died after this job and before its acknowledgement.
    if (job.deliveries_before() != 0)
      std::printf("%s comes again\n", std::string{job.text()}.c_str());
    ++done;
    --left;
    jobs->acknowledge(std::move(job));
  }
  std::printf("worker %d did %ld jobs\n", number, done);
  return 0;
}

int produce(long count) {
  auto node = sluice::Node::create({.name = "producer"});
  if (!node) return fail(node.error().message);
  auto jobs = sluice::MessagePublisher::create(*node, kTopic);
  if (!jobs) return fail(jobs.error().message);
  // Without a worker a job would be for nobody.
  const sluice::Deadline deadline = soon();
  while (jobs->stream().subscriber_count() == 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(1ms);
  }
  sluice::Published last;
  for (long i = 1; i <= count; ++i) {
    const std::string text = "job " + std::to_string(i);
    const auto bytes = std::as_bytes(std::span{text.data(), text.size()});
    // Waits where the workers are behind (OnFull::wait), then says `full`.
    const sluice::Outcome outcome = jobs->publish(bytes, {}, last);
    if (outcome != sluice::Outcome::ok) return fail(std::string{"job: "} + to_string(outcome));
  }
  // What nobody has been given yet would be lost with its publisher.
  const sluice::Outcome outcome = jobs->wait_reached(last, sluice::ReachLevel::handled, soon());
  return outcome == sluice::Outcome::ok ? 0
                                        : fail(std::string{"the last job: "} + to_string(outcome));
}

}  // namespace

int main(int argc, char** argv) {
  const long count = argc > 1 ? std::atol(argv[1]) : 100;
  std::atomic<long> left{count};
  std::atomic<int> failures{0};
  std::vector<std::thread> workers;
  for (int i = 1; i <= 2; ++i) {
    workers.emplace_back([i, &left, &failures] { failures += work(i, left); });
  }
  const int produced = produce(count);
  if (produced != 0) left = 0;
  for (std::thread& worker : workers) worker.join();
  return produced != 0 || failures != 0 ? 1 : 0;
}
