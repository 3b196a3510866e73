// Requesters and workers at a broker of the test's own.
#pragma once

#include "sluice/monitor.hpp"
#include "sluice/requester.hpp"
#include "sluice/responder.hpp"
#include "tests/support/bus_fixture.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace sluice::test {

using namespace std::chrono_literals;

// A worker with a node and a thread of its own.
class Worker {
 public:
  Worker(Node node, const std::string& service, Responder::Handler handler,
         ResponderOptions options = {})
      : node_(std::move(node)),
        responder_(must(Responder::create(node_, service, std::move(handler), options))),
        thread_([this] { (void)responder_->run(); }) {}
  ~Worker() { stop(); }
  void stop() {
    responder_->stop();
    join();
  }
  void drain() {
    responder_->drain();
    join();
  }
  Responder& responder() { return *responder_; }

 private:
  static std::unique_ptr<Responder> must(Result<std::unique_ptr<Responder>> made) {
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  Node node_;
  std::unique_ptr<Responder> responder_;
  std::thread thread_;
};

inline void echo(Request& request) { (void)request.reply(request.payload()); }

class RequestTest : public BusTest {
 protected:
  static std::unique_ptr<Requester> requester(Node& node, const std::string& service,
                                              RequesterOptions options = {}) {
    return value(Requester::create(node, service, std::move(options)));
  }
  static bool served(Requester& requester, std::size_t workers = 1) {
    return eventually([&] { return requester.worker_count() == workers; });
  }
  /// Later than any test lasts: what ends at once does not end by it.
  static Deadline never() { return std::chrono::steady_clock::now() + 24h; }
  /// The streams that replies of this service go through.
  static std::size_t reply_streams(const Monitor& monitor) {
    const Snapshot now = monitor.snapshot();
    return static_cast<std::size_t>(
        std::count_if(now.streams.begin(), now.streams.end(),
                      [](const StreamInfo& stream) { return !stream.ended; }));
  }
};

}  // namespace sluice::test
