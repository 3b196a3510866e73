// Small shared state: buckets of keys. One process keeps a bucket; everybody may read, watch and
// ask for changes.
//
// Each key is a retained topic, `state/<bucket>/<key>`; changes are requests to the service
// `state/<bucket>`, which the keeper answers after it has published the new value. Revisions count
// the changes of a bucket; they grow, and never repeat, also when its keeper is started anew.
#pragma once

#include "sluice/export.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/node.hpp"
#include "sluice/requester.hpp"
#include "sluice/responder.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

struct StateKeeperOptions {
  std::uint32_t max_keys = 1'000;
  std::uint64_t max_value_bytes = 4'096;
  /// Revisions begin above this, and above what is restored and what the clock says.
  std::uint64_t first_revision = 0;
  /// Called before each change is made, for who keeps it on disk. An error is what the caller is
  /// told; nothing changes then. Called with the value before when the change could not be made
  /// after all (`deleted`: there was none).
  std::function<Result<void>(std::string_view key, std::span<const std::byte> value,
                             std::uint64_t revision, bool deleted)>
      store{};
};

/// Keeps one bucket. Bound to one thread at a time, as Responder, which it is one of.
class SLUICE_EXPORT StateKeeper {
 public:
  static Result<std::unique_ptr<StateKeeper>> create(Node& node, std::string_view bucket,
                                                     StateKeeperOptions options = {},
                                                     WaitSet* set = nullptr);
  StateKeeper(const StateKeeper&) = delete;
  StateKeeper& operator=(const StateKeeper&) = delete;
  ~StateKeeper();
  /// What was stored before; only before the first step().
  Result<void> restore(std::string_view key, std::span<const std::byte> value,
                       std::uint64_t revision);
  std::size_t step(Deadline deadline);
  Result<void> run();
  void stop() noexcept;  ///< Any thread, and a signal handler.
  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] std::uint64_t revision() const noexcept;

 private:
  struct Impl;
  explicit StateKeeper(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

struct StateValue {
  Status status;  ///< not_found: no such key; unavailable: nobody keeps the bucket.
  std::uint64_t revision = 0;
  std::vector<std::byte> value{};
};

/// Asks the keeper of a bucket. Move-only; one thread at a time.
class SLUICE_EXPORT State {
 public:
  static Result<State> create(Node& node, std::string_view bucket);
  State(State&&) noexcept;
  State& operator=(State&&) noexcept;
  ~State();

  StateValue get(std::string_view key, const CallOptions& options = {});
  /// The new revision. A key is a topic: levels, no wildcards. An empty value would mean that there
  /// is none: invalid_argument.
  StateValue set(std::string_view key, std::span<const std::byte> value,
                 const CallOptions& options = {});
  /// Only if the key is still at `revision` (0: is not there); else StatusCode::aborted with what
  /// it is at.
  StateValue compare_and_set(std::string_view key, std::span<const std::byte> value,
                             std::uint64_t revision, const CallOptions& options = {});
  /// `revision` 0: whatever it is at. not_found: was not there.
  StateValue erase(std::string_view key, std::uint64_t revision = 0,
                   const CallOptions& options = {});
  Result<std::vector<std::string>> keys(std::string_view filter = "#",
                                        const CallOptions& options = {});

 private:
  struct Impl;
  explicit State(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

struct StateChange {
  std::string_view key;
  std::span<const std::byte> value;  ///< Empty where `deleted`.
  std::uint64_t revision = 0;
  bool deleted = false;
  bool initial = false;  ///< Was there before the watch began.
};

/// Sees values as they change, and first those that there are. Move-only, one thread at a time.
class SLUICE_EXPORT StateWatch {
 public:
  static Result<StateWatch> create(Node& node, std::string_view bucket,
                                   std::string_view filter = "#", WaitSet* set = nullptr);
  StateWatch(StateWatch&&) noexcept;
  StateWatch& operator=(StateWatch&&) noexcept;
  ~StateWatch();
  /// Calls `changed` for what has come, waiting for the first until the deadline; how many. Of
  /// quick changes of one key only the last may be seen.
  std::size_t step(Deadline deadline, const std::function<void(const StateChange&)>& changed);

 private:
  struct Impl;
  explicit StateWatch(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
