#include "transport/connection.hpp"

#include <array>

#include "transport/packet.hpp"

namespace sluice::transport {

Result<bool> Connection::try_send(const Waiting& packet) {
  std::array<int, kMaxPacketDescriptors> numbers{};
  for (std::size_t i = 0; i < packet.descriptors.size(); ++i) {
    numbers[i] = packet.descriptors[i]->get();
  }
  return try_send_packet(socket_.get(), packet.bytes, {numbers.data(), packet.descriptors.size()});
}

Result<void> Connection::send(const Message& message, std::span<const SharedFd> descriptors) {
  if (descriptors.size() > kMaxPacketDescriptors) {
    return Error{Errc::invalid_argument, 0, "a message with too many descriptors"};
  }
  Waiting packet{encode(message), {descriptors.begin(), descriptors.end()}};
  if (packet.bytes.size() > kMaxMessageBytes) {
    return Error{Errc::invalid_argument, 0,
                 "a message of " + std::to_string(packet.bytes.size()) + " bytes is too long"};
  }
  if (queue_.empty()) {
    auto sent = try_send(packet);
    if (!sent) return std::move(sent).error();
    if (*sent) return {};
  }
  if (queue_.size() >= kMaxQueuedPackets ||
      queued_bytes_ + packet.bytes.size() > kMaxQueuedBytes) {
    return Error{Errc::exhausted, 0, "the other side does not read what it is sent"};
  }
  queued_bytes_ += packet.bytes.size();
  queue_.push_back(std::move(packet));
  return {};
}

Result<void> Connection::flush() {
  while (!queue_.empty()) {
    auto sent = try_send(queue_.front());
    if (!sent) return std::move(sent).error();
    if (!*sent) return {};
    queued_bytes_ -= queue_.front().bytes.size();
    queue_.pop_front();
  }
  return {};
}

Result<std::optional<Received>> Connection::receive() {
  // One for all connections of the thread: a broker has a thousand, and reads one at a time.
  static thread_local std::vector<std::byte> buffer(kMaxMessageBytes);
  auto packet = try_receive_packet(socket_.get(), buffer);
  if (!packet) return std::move(packet).error();
  if (!*packet) return std::optional<Received>{};
  auto message = decode((*packet)->bytes);
  if (!message) return std::move(message).error();
  return std::optional<Received>{Received{std::move(*message), std::move((*packet)->descriptors)}};
}

}  // namespace sluice::transport
