// The tables, and their versions. docs/recorder.md shows them to who reads a file with other tools.
#pragma once

#include "daemons/recorder/database.hpp"

#include <cstdint>
#include <string>

namespace sluice::recorder {

inline constexpr int kSchemaVersion = 1;
inline constexpr std::int64_t kApplicationId = 0x534c'5543;  // "SLUC", shown by file(1)

/// Sets up a connection for writing: WAL, `synchronous` (FULL, NORMAL, OFF), a checkpoint after so
/// many pages. A code of SQLite.
int set_up_connection(Database& database, const std::string& synchronous,
                      std::uint32_t checkpoint_pages);

/// Version of the tables; 0: there are none. Negative: the file cannot be read, `code` says why.
int schema_version(Database& database, int& code);
/// Within a transaction of the caller's: makes the tables, or brings them up to kSchemaVersion.
int make_tables(Database& database, std::int64_t first_row);
int migrate(Database& database, int from);

}  // namespace sluice::recorder
