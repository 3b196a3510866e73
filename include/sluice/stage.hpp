// A stage: a function from inputs to outputs, and the harness around it.
#pragma once

#include "sluice/export.hpp"
#include "sluice/node.hpp"
#include "sluice/tracing.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

struct StageInput {
  std::string filter;
  SubscriptionOptions subscription{};
};

struct StageOutput {
  std::string topic;
  StreamOptions stream{};
};

struct StageOptions {
  std::string name;      ///< Of the node, and of its trace and health topics.
  std::string socket{};  ///< As NodeOptions::socket.
  std::vector<StageInput> inputs{};
  std::vector<StageOutput> outputs{};
  /// Streams that inputs refer to: Job::resolve finds their messages. Nothing is taken from them.
  std::vector<std::string> references{};
  std::uint32_t max_resolved = 4;  ///< Resolved samples held at the same time.
  std::chrono::nanoseconds slow =
      std::chrono::milliseconds{100};  ///< What takes longer is counted.
  std::chrono::milliseconds health_interval{1'000};
  bool trace = true;  ///< Publish a TraceSpan for each message handled.
  std::chrono::milliseconds connect_timeout{10'000};
  /// Errors of single messages (once a second at most, with the number left out) and what the node
  /// has to say. Called in the stage's thread and in the node's; must not block.
  std::function<void(LogLevel, std::string_view)> log{};
};

/// One message that is being handled. Bound to the handler's call.
class SLUICE_EXPORT Job {
 public:
  [[nodiscard]] const Sample& input() const noexcept;
  [[nodiscard]] std::size_t input_index() const noexcept;  ///< In StageOptions::inputs.
  [[nodiscard]] std::string_view topic() const noexcept;   ///< Of the input.

  /// The input, to be attached to a result or kept. input() is empty afterwards; correlation and
  /// origin stay known. An input of mode reliable or group is acknowledged after the handler all
  /// the same.
  Sample take_input() noexcept;

  /// The original message behind a reference, in place. An empty sample says why: expired, or
  /// mismatch when none of StageOptions::references has that stream (yet).
  Sample resolve(const Reference& reference) noexcept;

  /// A loan for outputs[output] with correlation and origin time of the input already set.
  Loan loan(std::uint64_t size_bytes, std::size_t output = 0,
            Priority priority = Priority::critical) noexcept;
  /// Publishes it; what cannot be published is counted as no_room and returned.
  Outcome publish(Loan&& loan, std::size_t output = 0) noexcept;
  /// Loan, copy, attach `held` (where not empty), publish.
  Outcome publish(std::span<const std::byte> bytes, Sample&& held, std::size_t output = 0) noexcept;

  /// Says that this message needed nothing; counted apart from what was handled.
  void skip() noexcept;
  /// A payload was copied where it might have been written in place; for the counters.
  void note_copy() noexcept;

 private:
  friend class Stage;
  struct Impl;
  explicit Job(Impl& impl) noexcept : impl_(&impl) {}
  Impl* impl_;
};

/// Subscribes, takes, calls the handler, acknowledges, measures, reports. A handler that throws or
/// returns an error loses that message, which is counted, and the stage goes on. Move-only. One
/// thread at a time, but stop() and health() from any.
class SLUICE_EXPORT Stage {
 public:
  using Handler = std::function<Result<void>(Job&)>;

  static Result<Stage> create(StageOptions options, Handler handler);

  Stage(Stage&&) noexcept;
  Stage& operator=(Stage&&) noexcept;
  ~Stage();

  /// Handles messages until stop(). Returns only what ends a stage: `refused` when the broker has
  /// taken a right away.
  Result<void> run();
  /// Handles what is there now, waiting for the first until the deadline; how many messages.
  std::size_t step(Deadline deadline);
  /// run() returns after the message it is about. Async-signal-safe.
  void stop() noexcept;

  [[nodiscard]] Health health() const;
  [[nodiscard]] Node& node() noexcept;
  [[nodiscard]] Publisher& output(std::size_t index = 0) noexcept;
  [[nodiscard]] Subscriber& input(std::size_t index = 0) noexcept;

 private:
  struct Impl;
  explicit Stage(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
