// Writes down what a registry says, as words that a test can compare.
#pragma once

#include "daemons/sluiced/registry.hpp"

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace sluice::broker {

class RecordingAudience final : public Audience {
 public:
  /// What was said since the last time.
  std::vector<std::string> take() { return std::exchange(said_, {}); }
  /// Only what starts with this word.
  std::vector<std::string> take(const std::string& word) {
    std::vector<std::string> some;
    for (std::string& line : take()) {
      if (line.rfind(word, 0) == 0) some.push_back(std::move(line));
    }
    return some;
  }

  void found(const Subscription& subscription, const Stream& stream) override {
    say("found", subscription.id, stream.id);
  }
  void unfit(const Subscription& subscription, const Stream& stream,
             const std::string& sentence) override {
    say("unfit", subscription.id, stream.id);
    last_sentence = sentence;
  }
  void leave(const Stream& stream, Id subscription) override {
    say("leave", stream.id, subscription);
  }
  void gone(Id node, Id stream, protocol::Cause cause) override {
    constexpr const char* kCauses[] = {"gone withdrawn", "gone died", "gone denied"};
    say(kCauses[static_cast<int>(cause)], node, stream);
  }
  void matching(const Stream& stream) override { last_matching[stream.id] = stream.matching; }
  void pool_added(Id node, const Stream& stream, std::uint32_t pool) override {
    say("pool " + std::to_string(pool), node, stream.id);
  }
  void event(const Watch& watch, protocol::EventT event, const SharedFd& descriptor) override {
    constexpr const char* kKinds[] = {"node",       "stream", "subscription",
                                      "attachment", "unfit",  "end"};
    constexpr const char* kChanges[] = {"+", "~", "-"};
    std::string line = "event " + std::to_string(watch.id) + " " +
                       kChanges[static_cast<int>(event.change)] +
                       kKinds[static_cast<int>(event.kind)];
    switch (event.kind) {
      case protocol::Kind::node:
        line += " " + std::to_string(event.node_id);
        if (event.state == protocol::NodeState::stuck) line += " stuck";
        break;
      case protocol::Kind::stream:
        line += " " + std::to_string(event.stream_id);
        break;
      case protocol::Kind::subscription:
        line += " " + std::to_string(event.subscription_id);
        break;
      case protocol::Kind::end_of_snapshot:
        break;
      default:
        line += " " + std::to_string(event.subscription_id) + " " + std::to_string(event.stream_id);
    }
    if (descriptor != nullptr) line += " fd";
    last_sentence = event.sentence;
    said_.push_back(line);
  }
  void detached(const Stream&, const Subscription&, const std::string&) override { ++detachments; }
  void ended(const Stream& stream) override { say("ended stream", stream.id); }
  void ended(const Subscription& subscription) override {
    say("ended subscription", subscription.id);
  }
  void ended(const Watch& watch) override { say("ended watch", watch.id); }

  std::string last_sentence;
  int detachments = 0;
  std::map<Id, std::uint32_t> last_matching;  ///< By stream.

 private:
  template <class... Number>
  void say(std::string line, Number... numbers) {
    ((line += " " + std::to_string(numbers)), ...);
    said_.push_back(std::move(line));
  }
  std::vector<std::string> said_;
};

}  // namespace sluice::broker
