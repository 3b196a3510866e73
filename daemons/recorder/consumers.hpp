// Durable consumers: what the store keeps for them, published in order from where they were.
//
// A consumer registers by the service `recorder/consume` and subscribes to `$durable/<name>`, as
// the member of a group. The recorder publishes there the durable messages that its filter matches,
// behind the last one that was acknowledged; what the group acknowledges moves the place, which is
// written with the next commit. When the member goes, the stream ends, and the next one begins at
// the place: whatever dies when, each message comes at least once and in order.
#pragma once

#include "daemons/recorder/archive.hpp"
#include "daemons/recorder/store.hpp"
#include "sluice/node.hpp"
#include "sluice/responder.hpp"

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace sluice::recorder {

struct ConsumersOptions {
  std::uint64_t max_message_bytes = 65'536;
};

/// Bound to one thread but interrupt().
class Consumers {
 public:
  static Result<std::unique_ptr<Consumers>> create(Node& node, Store& store, Archive archive,
                                                   ConsumersOptions options);
  Consumers(const Consumers&) = delete;
  Consumers& operator=(const Consumers&) = delete;
  ~Consumers();

  /// Publishes what is due, answers what was asked, waiting for either until the deadline.
  void step(Deadline deadline);
  /// Something new may be there. Any thread.
  void interrupt() noexcept { set_.interrupt(); }
  [[nodiscard]] std::size_t count() const noexcept { return all_.size(); }

 private:
  struct Sent {
    std::int64_t row = 0;
    Reference reference;
  };
  struct One {
    std::string filter;
    std::int64_t place = 0;    ///< Acknowledged.
    std::int64_t cursor = 0;   ///< Read from the archive.
    std::deque<Record> ready;  ///< Read, not published.
    std::deque<Sent> sent;     ///< Published, not acknowledged.
    std::optional<Publisher> publisher;
    std::string trouble;  ///< What was said last.
  };

  Consumers(Node& node, Store& store, Archive archive, ConsumersOptions options, WaitSet set)
      : node_(node),
        store_(store),
        archive_(std::move(archive)),
        options_(options),
        set_(std::move(set)) {}
  Result<void> start();
  void serve(Request& request);
  Status add(const Consumer& consumer);
  bool advance(const std::string& name, One& one);
  bool advertise(const std::string& name, One& one);
  bool collect(const std::string& name, One& one);
  bool fill(One& one);
  bool publish(const std::string& name, One& one);
  void begin_again(const std::string& name, One& one);

  Node& node_;
  Store& store_;
  Archive archive_;
  ConsumersOptions options_;
  WaitSet set_;
  std::unique_ptr<Responder> responder_;
  std::map<std::string, One> all_;
  std::chrono::milliseconds pause_{1};
};

}  // namespace sluice::recorder
