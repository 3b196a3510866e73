// The Sluice streams that are filled from iceoryx, and the worker's channels into them.
#pragma once

#include "daemons/iceoryx/config.hpp"
#include "daemons/iceoryx/intake.hpp"
#include "daemons/iceoryx/link.hpp"
#include "sluice/node.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sluice::iceoryx {

/// Bound to the keeper's thread.
class Streams {
 public:
  Streams(Node& node, const std::vector<Route>& routes) : node_(node), routes_(routes) {}

  /// A new worker: it learns which streams there are, so that it carries none of them back.
  void begin(Link& link);
  /// The worker has ended. Its channels and segments are gone, the streams stay. `roudi_lives`:
  /// which means that iceoryx uses again what the worker had held.
  void pause(bool roudi_lives);
  /// What it says, but its counts.
  void handle(Received received, Link& link);
  /// Lets go of what is passed; ends streams that no worker fills any more.
  void tend();

  [[nodiscard]] std::uint64_t published() const noexcept { return published_; }
  [[nodiscard]] std::uint64_t dropped() const noexcept { return dropped_; }
  [[nodiscard]] std::size_t size() const noexcept { return streams_.size(); }

 private:
  using Clock = std::chrono::steady_clock;
  class Segment;
  struct Stream {
    std::unique_ptr<Intake> intake;
    std::uint32_t route = 0;
    std::uint32_t channels = 0;   ///< That fill it now.
    Clock::time_point ends_at{};  ///< Where there are none.
  };
  struct Channel {
    Stream* stream = nullptr;
    std::uint64_t gaps = 0;
  };

  void add_segment(Received received);
  void open(const Packet& packet, const std::string& topic, Link& link);
  Result<Stream*> stream_for(std::uint32_t route, const std::string& topic);
  void publish(const Packet& packet);
  void release(std::uint32_t channel, std::uint32_t token);
  void on_released(std::uint64_t token);
  void close(std::uint32_t channel);
  void leave(Stream& stream);

  Node& node_;
  const std::vector<Route>& routes_;
  std::map<std::string, Stream> streams_;      // by topic; addresses stay
  std::map<std::uint32_t, Channel> channels_;  // of this worker
  std::map<std::uint32_t, std::shared_ptr<Segment>> segments_;
  Link* link_ = nullptr;          // while there is a worker
  std::uint64_t generation_ = 0;  // of workers
  std::uint64_t published_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace sluice::iceoryx
