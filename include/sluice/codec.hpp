// Payloads of messages as C++ types. Header only, but for the two checks of text.
//
// Flat structs and FlatBuffers are read in place, JSON is for people and gateways. The type's hash
// travels with each message; what another process sent is checked for codec, type, size and
// alignment, and FlatBuffers by their verifier. It stays the sender's memory: a sender that means
// harm can change a buffer behind its verifier. Whoever reads what untrusted ones sent copies the
// payload, and verifies and reads the copy.
#pragma once

#include "sluice/export.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/typed.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

/// Options for a publisher of flat T.
template <Plain T>
MessagePublisherOptions flat_publisher(MessagePublisherOptions options = {}) {
  options.stream.pools = {{sizeof(T)}};
  options.stream.type_hash = type_fingerprint<T>();
  options.stream.type_name = std::string(TypeName<T>::value);
  options.codec = Codec::flat;
  return options;
}

template <Plain T>
Outcome publish_flat(MessagePublisher& publisher, const T& value,
                     const MessageOptions& options = {}) {
  MessageLoan loan = publisher.loan(sizeof(T), options);
  if (!loan) return loan.outcome();
  std::memcpy(loan.bytes().data(), &value, sizeof(T));
  return publisher.publish(std::move(loan));
}

/// Payloads of the bus are aligned to that; what was lent from elsewhere need not be.
inline constexpr std::size_t kPayloadAlignment = 32;

template <std::size_t alignment>
bool lies_at(const Message& message) noexcept {
  return reinterpret_cast<std::uintptr_t>(message.payload().data()) % alignment == 0;
}

/// The payload, in place; null where it is not a T.
template <Plain T>
const T* flat_of(const Message& message) noexcept {
  static_assert(alignof(T) <= kPayloadAlignment, "payloads are aligned to 32 bytes");
  if (!message || message.envelope().codec != Codec::flat) return nullptr;
  if (message.info().type_hash != type_fingerprint<T>()) return nullptr;
  if (message.payload().size() != sizeof(T) || !lies_at<alignof(T)>(message)) return nullptr;
  return reinterpret_cast<const T*>(message.payload().data());
}

/// FNV-1a of a type's full name, "namespace.Table"; never 0. For StreamOptions::type_hash.
constexpr std::uint64_t type_hash_of_name(std::string_view name) noexcept {
  std::uint64_t hash = 0xcbf2'9ce4'8422'2325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x0000'0100'0000'01b3;
  return hash != 0 ? hash : 1;
}

/// Options for a publisher of FlatBuffers of up to `max_bytes` whose root is the table `type_name`,
/// "namespace.Table".
inline MessagePublisherOptions flatbuffer_publisher(std::string_view type_name,
                                                    std::uint64_t max_bytes,
                                                    MessagePublisherOptions options = {}) {
  options.stream.pools = {{max_bytes}};
  options.stream.type_hash = type_hash_of_name(type_name);
  options.stream.type_name = std::string(type_name);
  options.codec = Codec::flatbuffer;
  return options;
}

/// A copy of what was built: of a finished `flatbuffers::FlatBufferBuilder`, or what else has
/// GetBufferPointer() and GetSize(). too_large: the slots are smaller.
template <class Builder>
Outcome publish_flatbuffer(MessagePublisher& publisher, const Builder& finished,
                           const MessageOptions& options = {}) {
  return publisher.publish(
      std::as_bytes(std::span{finished.GetBufferPointer(), finished.GetSize()}), options);
}

/// The root table, in place, as long as the message lives; null where the codec or the type is
/// another one, or the buffer is misaligned or not valid. `verify(data, size)` tells whether
/// flatc's `VerifyXBuffer` accepts it; `get(data)` is `GetX`.
template <class Verify, class Get>
auto flatbuffer_of(const Message& message, std::uint64_t type_hash, Verify verify, Get get)
    -> decltype(get(static_cast<const void*>(nullptr))) {
  if (!message || message.envelope().codec != Codec::flatbuffer) return nullptr;
  if (message.info().type_hash != type_hash || !lies_at<kPayloadAlignment>(message)) return nullptr;
  const auto* data = reinterpret_cast<const std::uint8_t*>(message.payload().data());
  if (!verify(data, message.payload().size())) return nullptr;
  return get(static_cast<const void*>(data));
}

/// Whether the text is one JSON value in valid UTF-8, nested at most 64 deep.
SLUICE_EXPORT bool is_json(std::string_view text) noexcept;
/// A message for people: envelope and, where its codec is text or JSON, its payload; else the
/// payload's size and its base64. One JSON object in one line.
SLUICE_EXPORT std::string to_json(const Message& message);

}  // namespace sluice
