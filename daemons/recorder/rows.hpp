// Records as rows of the table.
#pragma once

#include "daemons/recorder/database.hpp"
#include "daemons/recorder/record.hpp"

#include <array>
#include <string>
#include <string_view>

namespace sluice::recorder {

/// 16 bytes, big-endian, as UUIDs are printed.
using IdBytes = std::array<char, 16>;
IdBytes id_bytes(const RecordId& id) noexcept;
/// Zero where it is no id.
RecordId id_of(std::string_view bytes) noexcept;
inline std::string_view view(const IdBytes& bytes) noexcept { return {bytes.data(), bytes.size()}; }

/// The columns in the order of both functions below.
inline constexpr const char* kColumns =
    "row,time_ns,topic,class,durable,kind,codec,flags,priority,id,copy,correlation,trace,node,"
    "node_id,pid,uid,type_hash,extensions,payload";
inline constexpr const char* kInsert =
    "INSERT INTO messages VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,"
    "?19,?20)";

/// Inserts it: a code of SQLite.
int insert_row(Statement& statement, const Record& record);
/// The row that a statement stands on. The file is input: sizes are checked, text is taken as it
/// is.
Record read_row(const Statement& statement);

}  // namespace sluice::recorder
