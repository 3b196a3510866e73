// What all of our files have in common: tables with known keys, values of known types, and errors
// with a place and a remedy.
#include "daemons/common/toml_reader.hpp"

#include "shm/fd.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace sluice::daemon {
namespace {

using transport::quoted;

// Each dot can be one more level of nested tables, and each level is a call deeper when toml++
// destroys them: a hundred thousand would end the process.
constexpr std::ptrdiff_t kMaxDots = 8'000;

Error too_many(const std::string& source, std::size_t most, const char* what) {
  return {Errc::invalid_argument, 0,
          source + " has more than " + std::to_string(most) + " " + what + "; shorten it"};
}

// As people write it: 0.5, 30, 1.05.
std::string number_text(double number) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g", number);
  return text.data();
}

}  // namespace

Error TomlReader::syntax_error(const toml::parse_error& problem) const {
  return error({problem.source().begin,
                std::string(problem.description()) + "; correct the TOML here or just before"});
}

std::optional<Error> TomlReader::first_error() const {
  if (!first_) return std::nullopt;
  return error(*first_);
}

Error TomlReader::error(const Problem& problem) const {
  return {Errc::invalid_argument, 0,
          source_ + ":" + std::to_string(problem.at.line) + ":" +
              std::to_string(problem.at.column) + ": " + problem.text};
}

void TomlReader::fail(const toml::source_position& at, std::string text) {
  ++problems_;
  if (!first_ || at < first_->at) first_ = Problem{at, std::move(text)};
}

void TomlReader::read_table(const toml::table& table, const std::string& where,
                            const std::vector<Field>& fields) {
  for (const Field& field : fields) {
    if (const toml::node* node = table.get(field.name)) field.read(*node);
  }
  for (const auto& [key, node] : table) {
    const std::string_view name = key.str();
    if (std::any_of(fields.begin(), fields.end(),
                    [&](const Field& field) { return field.name == name; })) {
      continue;
    }
    std::vector<const char*> known;
    known.reserve(fields.size());
    for (const Field& field : fields) known.push_back(field.name);
    fail(key.source().begin,
         "there is no key " + quoted(name) + " in " + where + "; it may have " + listed(known));
  }
}

void TomlReader::read_table(const toml::node& node, const std::string& where,
                            const std::vector<Field>& fields) {
  if (const toml::table* table = node.as_table()) {
    read_table(*table, where, fields);
  } else {
    fail(node, where + " is a table; write [" + where.substr(1, where.size() - 2) +
                   "] and its keys on lines of their own");
  }
}

std::string TomlReader::read_string(const toml::node& node, const std::string& what) {
  if (const auto* text = node.as_string()) return text->get();
  fail(node, what + " is a string; put it between quotation marks");
  return {};
}

bool TomlReader::read_bool(const toml::node& node, const std::string& what) {
  if (const auto* value = node.as_boolean()) return value->get();
  fail(node, what + " is true or false; write one of them, without quotation marks");
  return false;
}

std::int64_t TomlReader::read_integer(const toml::node& node, const std::string& what,
                                      std::int64_t least, std::int64_t most) {
  if (const auto* value = node.as_integer()) {
    if (value->get() >= least && value->get() <= most) return value->get();
  }
  fail(node, what + " is a whole number from " + std::to_string(least) + " to " +
                 std::to_string(most) + "; write one of them, without quotation marks");
  return least;
}

double TomlReader::read_number(const toml::node& node, const std::string& what, double least,
                               double most) {
  std::optional<double> number;
  if (const auto* whole = node.as_integer()) number = static_cast<double>(whole->get());
  if (const auto* real = node.as_floating_point()) number = real->get();
  if (number && std::isfinite(*number) && *number >= least && *number <= most) return *number;
  fail(node, what + " is a number from " + number_text(least) + " to " + number_text(most) +
                 "; write one of them, without quotation marks");
  return least;
}

LogOptions TomlReader::read_log(const toml::node& node) {
  LogOptions log;
  read_table(node, "[log]",
             {{"level",
               [&](const toml::node& n) {
                 log.level = static_cast<LogLevel>(read_choice(n, "log level", kLogLevels));
               }},
              {"json", [&](const toml::node& n) { log.json = read_bool(n, "log.json"); }}});
  return log;
}

std::optional<Error> too_much_toml(std::string_view text, const std::string& source) {
  if (text.size() > kMaxTomlBytes) return too_many(source, kMaxTomlBytes, "bytes");
  if (std::count(text.begin(), text.end(), '.') > kMaxDots) {
    return too_many(source, kMaxDots, "dots");
  }
  return std::nullopt;
}

Result<std::string> load_toml(const std::string& path, const std::string& what) {
  const auto cannot_read = [&](int code) {
    return Error{Errc::system, code,
                 "cannot read " + what + " " + path + ": " + std::strerror(code) +
                     "; correct the path or the file's rights"};
  };
  const shm::UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file.valid()) return cannot_read(errno);
  std::string text(kMaxTomlBytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(file.get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cannot_read(errno);
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  text.resize(size);
  return text;
}

}  // namespace sluice::daemon
