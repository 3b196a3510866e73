#include "transport/wire.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

namespace sluice::transport {
namespace {

constexpr flatbuffers::uoffset_t kMaxDepth = 8;
constexpr flatbuffers::uoffset_t kMaxTables = 64;
constexpr std::size_t kMaxSentenceBytes = 4096;

using Strings = flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>;

// Entries of a list may all be the same bytes, so that a short message would make a long copy.
bool is_modest(const Strings* list, std::size_t most) {
  if (list == nullptr) return true;
  if (list->size() > most) return false;
  std::size_t bytes = 0;
  for (const flatbuffers::String* text : *list) bytes += text->size();
  return bytes <= kMaxMessageBytes;
}

bool lists_are_modest(const protocol::Message& message) {
  if (const auto* hello = message.body_as_Hello()) {
    return is_modest(hello->capabilities(), kMaxCapabilities);
  }
  if (const auto* subscribe = message.body_as_Subscribe()) {
    return is_modest(subscribe->filters(), kMaxFilters);
  }
  const auto* event = message.body_as_Event();
  return event == nullptr || (is_modest(event->filters(), kMaxFilters) &&
                              is_modest(event->capabilities(), kMaxCapabilities));
}

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
  if (bytes.size() > kMaxMessageBytes || !protocol::VerifyMessageBuffer(verifier) ||
      !lists_are_modest(*protocol::GetMessage(data))) {
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
