// What a pipeline did while it ran, seen from outside: counters by a monitor, results and health by
// subscriptions of its own.
#pragma once

#include "sluice/node.hpp"
#include "sluice/results.hpp"
#include "sluice/tracing.hpp"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::run {

/// Of one topic of detections or identities.
struct ResultsSeen {
  struct Name {
    std::uint64_t count = 0;
    float best_confidence = 0;
  };
  std::uint64_t messages = 0;
  std::uint64_t results = 0;
  std::uint64_t unreadable = 0;
  std::map<std::string, Name> names{};  ///< Of identities.
};

/// One attachment of a subscription, with what is needed to say whose it is.
struct AttachmentSeen {
  std::string node;
  std::string topic;
  DeliveryMode mode = DeliveryMode::next;
  AttachmentInfo info;
};
struct StreamSeen {
  std::string node;
  StreamInfo info;
};

/// The last that was seen of everything, also of what is gone since.
struct Observations {
  std::map<std::uint64_t, StreamSeen> streams;
  std::map<std::pair<std::uint64_t, std::uint64_t>, AttachmentSeen> attachments;
  std::map<std::string, ResultsSeen> results;                      ///< By topic.
  std::map<std::pair<std::string, std::uint64_t>, Health> health;  ///< By node and its start.
  std::uint64_t results_missed = 0;                                ///< By our own subscriptions.
};

/// Has a thread of its own from create() on.
class Observer {
 public:
  static Result<std::unique_ptr<Observer>> create(const std::string& socket);
  ~Observer();
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  /// Looks once more and stops looking.
  Observations finish();

 private:
  Observer(Node node, WaitSet set, Monitor monitor, std::vector<Subscriber> results,
           Subscriber health);
  void watch();
  void take_all();
  void take_result(const Sample& sample, const std::string& topic);
  void look();

  Node node_;
  WaitSet set_;
  Monitor monitor_;
  std::vector<Subscriber> results_;
  Subscriber health_;
  Observations seen_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace sluice::run
