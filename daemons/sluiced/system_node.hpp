// The broker's own node: publishes what happens on `$sys`.
#pragma once

#include "daemons/sluiced/event_loop.hpp"
#include "daemons/sluiced/event_queue.hpp"
#include "daemons/sluiced/system_event.hpp"
#include "shm/fd.hpp"
#include "sluice/node.hpp"
#include "sluice/result.hpp"

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace sluice {
class MessagePublisher;
}

namespace sluice::broker {

/// A node like any other, connected to the broker's own socket, in a thread of its own, so that the
/// loop waits for nothing here: events go through a queue, and what finds it full is counted and
/// told as {"event":"lost","count":n}. Where the node cannot be made the broker works without it.
/// tell() and the rest are for the loop's thread.
class SystemNode final : public Chronicle {
 public:
  static constexpr const char* kName = "sluiced";
  static constexpr std::size_t kQueued = 4'096;

  SystemNode(EventLoop& loop, std::string socket);
  SystemNode(const SystemNode&) = delete;
  SystemNode& operator=(const SystemNode&) = delete;
  /// Publishes what is queued, and ends.
  ~SystemNode() override;

  /// Starts the thread, which connects as soon as the loop runs.
  Result<void> start();
  void tell(SystemEvent event) override;
  void stop();

 private:
  using Publishers = std::array<std::unique_ptr<MessagePublisher>, kSystemTopics>;

  // The node's thread.
  void run();
  void serve(Node& node, Publishers& publishers);
  void publish_queued(Publishers& publishers);
  static void publish(Publishers& publishers, const SystemEvent& event);
  void say(LogLevel level, std::string sentence);

  struct Line {
    LogLevel level;
    std::string text;
  };

  EventLoop& loop_;
  std::string socket_;
  EventQueue<SystemEvent> events_{kQueued};
  EventQueue<Line> lines_{64};  // for the log, which is the loop's
  shm::UniqueFd wake_;          // events, or the end
  shm::UniqueFd said_;          // lines
  EventLoop::Token said_token_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace sluice::broker
