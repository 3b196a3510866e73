// SQLite's handles as C++ values. Codes are SQLite's extended ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

struct sqlite3;
struct sqlite3_stmt;

namespace sluice::recorder {

/// What a code means for who keeps messages.
enum class Trouble : std::uint8_t {
  none,
  full,     ///< No room; there may be some later.
  corrupt,  ///< The file is no database, or a damaged one.
  busy,     ///< Somebody else has it locked.
  failed,   ///< Anything else: input/output, permission.
};
Trouble trouble_of(int code, int system_errno) noexcept;

/// A prepared statement. Bound to its database, which must outlive it.
class Statement {
 public:
  Statement() = default;
  Statement(Statement&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Statement& operator=(Statement&& other) noexcept;
  ~Statement();

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  // Parameters count from 1. What is bound must live until reset().
  Statement& bind(int parameter, std::int64_t value) noexcept;
  Statement& bind(int parameter, std::string_view text) noexcept;
  Statement& bind_blob(int parameter, std::string_view bytes) noexcept;
  Statement& bind_null(int parameter) noexcept;
  /// SQLITE_ROW, SQLITE_DONE or an error.
  int step() noexcept;
  /// Runs it to its end: SQLITE_OK or an error. Resets it.
  int run() noexcept;
  void reset() noexcept;

  // Columns count from 0; the bytes are valid until the next step.
  [[nodiscard]] std::int64_t integer(int column) const noexcept;
  [[nodiscard]] std::string_view bytes(int column) const noexcept;

 private:
  friend class Database;
  sqlite3_stmt* handle_ = nullptr;
};

/// A connection. Thread-compatible.
class Database {
 public:
  Database() = default;
  Database(Database&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Database& operator=(Database&& other) noexcept;
  ~Database();

  /// `flags`: SQLITE_OPEN_…; `vfs`: empty for the system's.
  static int open(const std::string& path, int flags, const std::string& vfs, Database& out);
  int close() noexcept;

  int run(const char* sql) noexcept;
  int run(const std::string& sql) noexcept { return run(sql.c_str()); }
  int prepare(const char* sql, Statement& out) noexcept;
  int prepare(const std::string& sql, Statement& out) noexcept { return prepare(sql.c_str(), out); }
  /// The first column of the first row; `code` says whether there is one (SQLITE_ROW).
  std::int64_t integer(const char* sql, int& code) noexcept;

  [[nodiscard]] sqlite3* handle() const noexcept { return handle_; }
  /// What was wrong with the last call, for people.
  [[nodiscard]] std::string message() const;
  /// errno of the last system call that failed.
  [[nodiscard]] int system_errno() const noexcept;

 private:
  sqlite3* handle_ = nullptr;
};

}  // namespace sluice::recorder
