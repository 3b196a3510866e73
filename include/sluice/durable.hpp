// Consumers that miss nothing: of topics that a recorder keeps on disk.
//
// `sluice-recorder` keeps the consumer's place. After a power cut, or a restart of the consumer,
// the recorder or the machine it goes on behind the last message that was acknowledged: each comes
// at least once, in the order in which the recorder stored them, with the id it was published with.
#pragma once

#include "sluice/duplicates.hpp"
#include "sluice/export.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/node.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace sluice {

struct DurableConsumerOptions {
  /// Of a consumer that the recorder does not know yet: begin with the oldest message there is;
  /// else with the next one that comes.
  bool from_start = false;
  std::uint32_t max_held = 8;  ///< Messages taken and not acknowledged; 1: strictly one by one.
  /// Ids of messages that were acknowledged: what comes again, since the recorder or its disk died
  /// before it had noted that, is not given out a second time by this process.
  DuplicateWindowOptions duplicates{4'096, 120'000'000'000};
  std::chrono::nanoseconds timeout = std::chrono::seconds{5};  ///< For registering.
};

/// Needs the rights to request `recorder/consume` and to subscribe to `$durable/<name>`. Processes
/// with the same name share the messages: each goes to one of them. Move-only; one thread at a
/// time.
class SLUICE_EXPORT DurableConsumer {
 public:
  /// `name`: one level of a topic, at most 63 bytes. `refused`: no recorder, or the name is known
  /// with another filter; with the recorder's sentence.
  static Result<DurableConsumer> create(Node& node, std::string_view name, std::string_view filter,
                                        DurableConsumerOptions options = {},
                                        WaitSet* set = nullptr);
  /// The recorder keeps nothing for it any more; whether it was known.
  static Result<bool> forget(Node& node, std::string_view name,
                             std::chrono::nanoseconds timeout = std::chrono::seconds{5});
  DurableConsumer(DurableConsumer&&) noexcept;
  DurableConsumer& operator=(DurableConsumer&&) noexcept;
  ~DurableConsumer();

  /// As MessageSubscriber. Message::topic() is `$durable/<name>`; topic_of() is what it was
  /// published on.
  Message take() noexcept;
  Outcome wait(Deadline deadline) noexcept;
  Message receive(Deadline deadline) noexcept;
  [[nodiscard]] std::string_view topic_of(const Message& message) const noexcept;

  /// It is done with: what comes after a restart begins behind it, and behind all before it.
  void acknowledge(Message&& message) noexcept;
  /// It comes again, here or at another process of the same name.
  void reject(Message&& message) noexcept;
  /// As MessageSubscriber::give_up.
  void give_up(Message&& message) noexcept;

  struct Counts {
    std::uint64_t taken = 0;
    std::uint64_t acknowledged = 0;
    std::uint64_t duplicates = 0;  ///< Came again after they were acknowledged; not given out.
  };
  [[nodiscard]] const Counts& counts() const noexcept;
  [[nodiscard]] const std::string& name() const noexcept;

 private:
  struct Impl;
  explicit DurableConsumer(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
