#include "daemons/recorder/database.hpp"

#include "sluice/topic.hpp"

#include <sqlite3.h>

#include <cerrno>

namespace sluice::recorder {
namespace {

// sluice_matches(filter, topic), for queries and for what durable consumers wait for.
void matches(sqlite3_context* context, int /*count*/, sqlite3_value** values) {
  const auto text = [](sqlite3_value* value) {
    const auto* bytes = static_cast<const char*>(sqlite3_value_blob(value));
    return std::string_view{bytes == nullptr ? "" : bytes,
                            static_cast<std::size_t>(sqlite3_value_bytes(value))};
  };
  sqlite3_result_int(context, filter_matches(text(values[0]), text(values[1])) ? 1 : 0);
}

}  // namespace

Trouble trouble_of(int code, int system_errno) noexcept {
  switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
      return Trouble::none;
    case SQLITE_FULL:
      return Trouble::full;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Trouble::corrupt;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Trouble::busy;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      // A file that is shorter than its own pages is damaged, not the disk.
      if (code == SQLITE_IOERR_SHORT_READ || code == SQLITE_IOERR_CORRUPTFS) {
        return Trouble::corrupt;
      }
      return system_errno == ENOSPC || system_errno == EDQUOT ? Trouble::full : Trouble::failed;
    default:
      return Trouble::failed;
  }
}

Statement& Statement::operator=(Statement&& other) noexcept {
  if (this != &other) {
    sqlite3_finalize(handle_);
    handle_ = std::exchange(other.handle_, nullptr);
  }
  return *this;
}

Statement::~Statement() { sqlite3_finalize(handle_); }

Statement& Statement::bind(int parameter, std::int64_t value) noexcept {
  sqlite3_bind_int64(handle_, parameter, value);
  return *this;
}

Statement& Statement::bind(int parameter, std::string_view text) noexcept {
  sqlite3_bind_text64(handle_, parameter, text.data() == nullptr ? "" : text.data(), text.size(),
                      SQLITE_STATIC, SQLITE_UTF8);
  return *this;
}

Statement& Statement::bind_blob(int parameter, std::string_view bytes) noexcept {
  sqlite3_bind_blob64(handle_, parameter, bytes.data() == nullptr ? "" : bytes.data(), bytes.size(),
                      SQLITE_STATIC);
  return *this;
}

Statement& Statement::bind_null(int parameter) noexcept {
  sqlite3_bind_null(handle_, parameter);
  return *this;
}

int Statement::step() noexcept { return sqlite3_step(handle_); }

int Statement::run() noexcept {
  int code = SQLITE_ROW;
  while (code == SQLITE_ROW) code = sqlite3_step(handle_);
  sqlite3_reset(handle_);
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

void Statement::reset() noexcept { sqlite3_reset(handle_); }

std::int64_t Statement::integer(int column) const noexcept {
  return sqlite3_column_int64(handle_, column);
}

std::string_view Statement::bytes(int column) const noexcept {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(handle_, column));
  if (data == nullptr) return {};
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(handle_, column))};
}

Database& Database::operator=(Database&& other) noexcept {
  if (this != &other) {
    (void)close();
    handle_ = std::exchange(other.handle_, nullptr);
  }
  return *this;
}

Database::~Database() { (void)close(); }

int Database::open(const std::string& path, int flags, const std::string& vfs, Database& out) {
  (void)out.close();
  const int code =
      sqlite3_open_v2(path.c_str(), &out.handle_, flags, vfs.empty() ? nullptr : vfs.c_str());
  if (code != SQLITE_OK) return code;
  sqlite3_extended_result_codes(out.handle_, 1);
  sqlite3_busy_timeout(out.handle_, 1'000);
  return sqlite3_create_function_v2(out.handle_, "sluice_matches", 2,
                                    SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr, matches, nullptr,
                                    nullptr, nullptr);
}

int Database::close() noexcept {
  // Statements that are still there keep the connection until the last of them goes.
  return sqlite3_close_v2(std::exchange(handle_, nullptr));
}

int Database::run(const char* sql) noexcept {
  return sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
}

int Database::prepare(const char* sql, Statement& out) noexcept {
  sqlite3_stmt* handle = nullptr;
  const int code = sqlite3_prepare_v2(handle_, sql, -1, &handle, nullptr);
  Statement made;
  made.handle_ = handle;
  out = std::move(made);
  return code;
}

std::int64_t Database::integer(const char* sql, int& code) noexcept {
  Statement statement;
  code = prepare(sql, statement);
  if (code != SQLITE_OK) return 0;
  code = statement.step();
  return code == SQLITE_ROW ? statement.integer(0) : 0;
}

std::string Database::message() const {
  return handle_ == nullptr ? "out of memory" : sqlite3_errmsg(handle_);
}

int Database::system_errno() const noexcept {
  return handle_ == nullptr ? 0 : sqlite3_system_errno(handle_);
}

}  // namespace sluice::recorder
