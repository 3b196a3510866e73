// The envelope as input: another process wrote it, and may still be writing. So it is copied once,
// and only the copy is believed; extensions are walked within the copy's header_bytes, which was
// checked against the size of the payload that the ring entry (itself checked) gives.
#include "sluice/envelope.hpp"

#include "transport/bus/envelope_writer.hpp"

#include <cstring>

namespace sluice {
namespace {

using bus::kHeaderAlignment;
struct ExtensionHead {
  std::uint16_t id;
  std::uint16_t size;
};
static_assert(sizeof(ExtensionHead) == bus::kItemHeadBytes);

constexpr std::size_t padded(std::size_t bytes) { return (bytes + 3) & ~std::size_t{3}; }

constexpr bool known(MessageKind kind) {
  return kind >= MessageKind::event && kind <= MessageKind::dead_letter;
}

}  // namespace

const char* to_string(MessageKind kind) noexcept {
  switch (kind) {
    case MessageKind::event:
      return "event";
    case MessageKind::request:
      return "request";
    case MessageKind::reply:
      return "reply";
    case MessageKind::dead_letter:
      return "dead_letter";
  }
  return "unknown";
}

const char* to_string(Codec codec) noexcept {
  switch (codec) {
    case Codec::bytes:
      return "bytes";
    case Codec::flat:
      return "flat";
    case Codec::flatbuffer:
      return "flatbuffer";
    case Codec::json:
      return "json";
    case Codec::text:
      return "text";
  }
  return "unknown";
}

std::optional<Envelope> read_envelope(std::span<const std::byte> slot) noexcept {
  Envelope e;
  if (!bus::read_envelope_to(slot, e)) return std::nullopt;
  return e;
}

std::span<const std::byte> find_extension(std::span<const std::byte> slot, const Envelope& envelope,
                                          ExtensionId id) noexcept {
  if (envelope.header_bytes > slot.size()) return {};
  std::span<const std::byte> rest = slot.first(envelope.header_bytes).subspan(sizeof(Envelope));
  while (rest.size() >= sizeof(ExtensionHead)) {
    ExtensionHead head{};
    std::memcpy(&head, rest.data(), sizeof head);
    rest = rest.subspan(sizeof head);
    // An id of 0 ends the list: the padding behind it is zeros.
    if (head.id == 0 || head.size > rest.size()) return {};
    if (head.id == static_cast<std::uint16_t>(id)) return rest.first(head.size);
    if (padded(head.size) > rest.size()) return {};
    rest = rest.subspan(padded(head.size));
  }
  return {};
}

std::size_t header_bytes_for(std::span<const std::size_t> extension_sizes) noexcept {
  std::size_t bytes = sizeof(Envelope);
  for (const std::size_t size : extension_sizes) bytes += sizeof(ExtensionHead) + padded(size);
  return (bytes + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment;
}

namespace bus {

bool read_envelope_to(std::span<const std::byte> slot, Envelope& to) noexcept {
  if (slot.size() < sizeof to) return false;
  std::memcpy(static_cast<void*>(&to), slot.data(), sizeof to);
  return to.magic == kEnvelopeMagic && to.version == kEnvelopeVersion && known(to.kind) &&
         to.codec <= Codec::text && to.hops <= kMaxHops && to.attempt != 0 &&
         to.header_bytes >= sizeof to && to.header_bytes % kHeaderAlignment == 0 &&
         to.header_bytes <= kMaxHeaderBytes && to.header_bytes <= slot.size() &&
         to.id != MessageId{};
}

void Extensions::write(std::span<std::byte> header) const noexcept {
  std::span<std::byte> rest = header.subspan(sizeof(Envelope));
  for (std::size_t i = 0; i < count_; ++i) {
    const Item& item = items_[i];
    const ExtensionHead head{static_cast<std::uint16_t>(item.id),
                             static_cast<std::uint16_t>(item.bytes.size())};
    std::memcpy(rest.data(), &head, sizeof head);
    rest = rest.subspan(sizeof head);
    if (!item.bytes.empty()) std::memcpy(rest.data(), item.bytes.data(), item.bytes.size());
    const std::size_t padding = padded(item.bytes.size()) - item.bytes.size();
    std::memset(rest.data() + item.bytes.size(), 0, padding);
    rest = rest.subspan(padded(item.bytes.size()));
  }
  if (!rest.empty()) std::memset(rest.data(), 0, rest.size());
}

}  // namespace bus
}  // namespace sluice
