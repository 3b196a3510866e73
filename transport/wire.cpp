#include "transport/wire.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

namespace sluice::transport {
namespace {

constexpr flatbuffers::uoffset_t kMaxDepth = 8;
constexpr flatbuffers::uoffset_t kMaxTables = 64;
constexpr std::size_t kMaxSentenceBytes = 4096;

}  // namespace

std::vector<std::byte> encode(const Message& message) {
  flatbuffers::FlatBufferBuilder builder{512};
  protocol::FinishMessageBuffer(builder, protocol::Message::Pack(builder, &message));
  const auto* begin = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return {begin, begin + builder.GetSize()};
}

Result<Message> decode(std::span<const std::byte> bytes) {
  // The format aligns its scalars from the start of the buffer, and the verifier insists on it.
  const auto aligned = std::make_unique<std::uint64_t[]>(bytes.size() / sizeof(std::uint64_t) + 1);
  auto* data = reinterpret_cast<std::uint8_t*>(aligned.get());
  if (!bytes.empty()) std::memcpy(data, bytes.data(), bytes.size());
  flatbuffers::Verifier verifier{data, bytes.size(), kMaxDepth, kMaxTables};
  if (bytes.size() > kMaxMessageBytes || !protocol::VerifyMessageBuffer(verifier)) {
    return Error{Errc::untrusted, 0, "what arrived is not a message of the broker protocol"};
  }
  Message message;
  protocol::GetMessage(data)->UnPackTo(&message);
  return message;
}

protocol::FailedT to_failed(const Error& error) {
  protocol::FailedT failed;
  failed.code = static_cast<std::uint8_t>(error.code);
  failed.message = error.message.substr(0, kMaxSentenceBytes);
  return failed;
}

Error to_error(const protocol::FailedT& failed) {
  const auto last = static_cast<std::uint8_t>(Errc::exhausted);
  return Error{failed.code <= last ? static_cast<Errc>(failed.code) : Errc::refused, 0,
               failed.message};
}

}  // namespace sluice::transport
