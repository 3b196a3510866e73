#include "daemons/recorder/convert.hpp"

#include <algorithm>
#include <cstring>

namespace sluice::recorder {
namespace {

constexpr std::string_view kDeadLetters = "$dlq/";
constexpr std::size_t kAlignment = 32;  // of payloads

RecordClass class_of(std::string_view topic) noexcept {
  if (topic == "$sys/access") return RecordClass::access;
  if (topic == "$sys/nodes") return RecordClass::life_cycle;
  return topic.starts_with(kDeadLetters) ? RecordClass::dead_letter : RecordClass::message;
}

std::uint16_t number_at(std::string_view bytes, std::size_t at) noexcept {
  std::uint16_t number = 0;
  std::memcpy(&number, bytes.data() + at, sizeof number);
  return number;
}

// Calls `use(id, bytes)` for each extension; zeros are padding, and what does not fit ends it.
template <class Use>
void each_extension(std::string_view extensions, Use use) {
  constexpr std::size_t kHead = 4;
  std::size_t at = 0;
  while (at + kHead <= extensions.size()) {
    const std::uint16_t id = number_at(extensions, at);
    const std::size_t size = number_at(extensions, at + 2);
    if (id == 0 || size > extensions.size() - at - kHead) return;
    use(static_cast<ExtensionId>(id), extensions.substr(at + kHead, size));
    at += kHead + (size + 3) / 4 * 4;
  }
}

void append_extension(std::string& out, ExtensionId id, std::string_view bytes) {
  const auto number = static_cast<std::uint16_t>(id);
  const auto size = static_cast<std::uint16_t>(bytes.size());
  out.append(reinterpret_cast<const char*>(&number), sizeof number);
  out.append(reinterpret_cast<const char*>(&size), sizeof size);
  out.append(bytes);
  out.resize((out.size() + 3) / 4 * 4);
}

}  // namespace

Record record_of(std::span<const std::byte> slot, const Envelope& envelope, const MessageInfo& info,
                 std::string_view topic, std::int64_t offset_ns) {
  const auto* bytes = reinterpret_cast<const char*>(slot.data());
  Record record;
  record.time_ns = static_cast<std::int64_t>(info.publish_ns) + offset_ns;
  record.topic = topic;
  record.node_id = envelope.source;
  record.type_hash = info.type_hash;
  record.codec = static_cast<std::uint8_t>(envelope.codec);
  record.kind = static_cast<std::uint8_t>(envelope.kind);
  record.flags = envelope.flags;
  record.priority = static_cast<std::uint8_t>(info.priority);
  record.what = class_of(topic);
  record.id = to_record_id(envelope.id);
  record.correlation = to_record_id(info.correlation);
  record.trace = envelope.trace_id;
  record.span = envelope.span_id;
  record.trace_flags = envelope.trace_flags;
  record.extensions.assign(bytes + sizeof(Envelope), bytes + envelope.header_bytes);
  record.payload.assign(bytes + envelope.header_bytes, bytes + slot.size());
  // What was sent again on purpose is recorded again; the same entry, delivered again, is not.
  if ((envelope.flags & kFlagRedelivered) != 0) record.copy = info.publish_ns;
  if (const auto letter = dead_letter_of(record)) record.copy = letter->times;
  return record;
}

std::string_view extension_in(std::string_view extensions, ExtensionId id) noexcept {
  std::string_view found;
  each_extension(extensions, [&](ExtensionId other, std::string_view bytes) {
    if (other == id) found = bytes;
  });
  return found;
}

std::string with_extension(std::string_view extensions, ExtensionId id, std::string_view bytes) {
  std::string out;
  each_extension(extensions, [&](ExtensionId other, std::string_view value) {
    if (other != id) append_extension(out, other, value);
  });
  append_extension(out, id, bytes);
  return out;
}

std::optional<DeadLetterRecord> dead_letter_of(const Record& record) noexcept {
  const std::string_view bytes = extension_in(record.extensions, ExtensionId::reason);
  if (bytes.size() != sizeof(DeadLetterRecord)) return {};
  if (record.kind != static_cast<std::uint8_t>(MessageKind::dead_letter)) return {};
  DeadLetterRecord letter;
  std::memcpy(&letter, bytes.data(), sizeof letter);
  if (letter.reason < DeadLetterReason::rejected || letter.reason > DeadLetterReason::full)
    return {};
  letter.error.back() = '\0';
  return letter;
}

std::string original_topic(const Record& record) {
  const std::string_view named = extension_in(record.extensions, ExtensionId::topic);
  if (!named.empty()) return std::string{named};
  const std::string_view topic = record.topic;
  return std::string{topic.starts_with(kDeadLetters) ? topic.substr(kDeadLetters.size()) : topic};
}

std::string header_of(const Record& record, std::string_view extensions, MessageKind kind,
                      std::uint8_t flags) {
  Envelope envelope;
  envelope.kind = kind;
  envelope.codec = static_cast<Codec>(record.codec);
  envelope.flags = static_cast<std::uint8_t>(record.flags | flags);
  envelope.trace_flags = record.trace_flags;
  envelope.id = to_id(record.id);
  envelope.trace_id = record.trace;
  envelope.span_id = record.span;
  envelope.source = record.node_id;
  std::size_t size = sizeof envelope + extensions.size();
  size = (size + kAlignment - 1) / kAlignment * kAlignment;
  envelope.header_bytes = static_cast<std::uint16_t>(size);
  std::string header(size, '\0');
  std::memcpy(header.data(), &envelope, sizeof envelope);
  std::copy(extensions.begin(), extensions.end(), header.begin() + sizeof envelope);
  return header;
}

}  // namespace sluice::recorder
