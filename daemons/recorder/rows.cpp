#include "daemons/recorder/rows.hpp"

#include <algorithm>
#include <cstddef>

namespace sluice::recorder {
namespace {

constexpr std::size_t kTraceBytes = 25;
using TraceBytes = std::array<char, kTraceBytes>;

bool has_trace(const Record& record) noexcept {
  return std::any_of(record.trace.begin(), record.trace.end(), [](auto byte) { return byte != 0; });
}

TraceBytes trace_bytes(const Record& record) noexcept {
  TraceBytes bytes{};
  auto at = std::transform(record.trace.begin(), record.trace.end(), bytes.begin(),
                           [](auto byte) { return static_cast<char>(byte); });
  at = std::transform(record.span.begin(), record.span.end(), at,
                      [](auto byte) { return static_cast<char>(byte); });
  *at = static_cast<char>(record.trace_flags);
  return bytes;
}

void read_trace(std::string_view bytes, Record& record) noexcept {
  if (bytes.size() != kTraceBytes) return;
  const auto octet = [](char c) { return static_cast<std::uint8_t>(c); };
  std::transform(bytes.begin(), bytes.begin() + 16, record.trace.begin(), octet);
  std::transform(bytes.begin() + 16, bytes.begin() + 24, record.span.begin(), octet);
  record.trace_flags = octet(bytes[24]);
}

}  // namespace

RecordId id_of(std::string_view bytes) noexcept {
  RecordId id;
  if (bytes.size() != 16) return id;
  for (std::size_t i = 0; i < 8; ++i) {
    id.high = id.high << 8 | static_cast<unsigned char>(bytes[i]);
    id.low = id.low << 8 | static_cast<unsigned char>(bytes[i + 8]);
  }
  return id;
}

IdBytes id_bytes(const RecordId& id) noexcept {
  IdBytes bytes{};
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<char>(id.high >> (56 - 8 * i) & 0xff);
    bytes[i + 8] = static_cast<char>(id.low >> (56 - 8 * i) & 0xff);
  }
  return bytes;
}

int insert_row(Statement& statement, const Record& record) {
  const IdBytes id = id_bytes(record.id);
  const IdBytes correlation = id_bytes(record.correlation);
  const TraceBytes trace = trace_bytes(record);
  statement.bind(1, record.row)
      .bind(2, record.time_ns)
      .bind(3, std::string_view{record.topic})
      .bind(4, static_cast<std::int64_t>(record.what))
      .bind(5, std::int64_t{record.durable})
      .bind(6, std::int64_t{record.kind})
      .bind(7, std::int64_t{record.codec})
      .bind(8, std::int64_t{record.flags})
      .bind(9, std::int64_t{record.priority})
      .bind(11, static_cast<std::int64_t>(record.copy))
      .bind(14, std::string_view{record.node})
      .bind(15, static_cast<std::int64_t>(record.node_id))
      .bind(16, record.pid)
      .bind(17, record.uid)
      .bind(18, static_cast<std::int64_t>(record.type_hash))
      .bind_blob(19, record.extensions)
      .bind_blob(20, record.payload);
  record.id ? statement.bind_blob(10, view(id)) : statement.bind_null(10);
  record.correlation ? statement.bind_blob(12, view(correlation)) : statement.bind_null(12);
  has_trace(record) ? statement.bind_blob(13, {trace.data(), trace.size()})
                    : statement.bind_null(13);
  return statement.run();
}

Record read_row(const Statement& statement) {
  Record record;
  const auto octet = [&](int column) {
    return static_cast<std::uint8_t>(statement.integer(column));
  };
  record.row = statement.integer(0);
  record.time_ns = statement.integer(1);
  record.topic = statement.bytes(2);
  const std::int64_t what = statement.integer(3);
  record.what = what >= 0 && what <= 4 ? static_cast<RecordClass>(what) : RecordClass::message;
  record.durable = statement.integer(4) != 0;
  record.kind = octet(5);
  record.codec = octet(6);
  record.flags = octet(7);
  record.priority = octet(8);
  record.id = id_of(statement.bytes(9));
  record.copy = static_cast<std::uint64_t>(statement.integer(10));
  record.correlation = id_of(statement.bytes(11));
  read_trace(statement.bytes(12), record);
  record.node = statement.bytes(13);
  record.node_id = static_cast<std::uint64_t>(statement.integer(14));
  record.pid = statement.integer(15);
  record.uid = statement.integer(16);
  record.type_hash = static_cast<std::uint64_t>(statement.integer(17));
  record.extensions = statement.bytes(18);
  record.payload = statement.bytes(19);
  return record;
}

}  // namespace sluice::recorder
