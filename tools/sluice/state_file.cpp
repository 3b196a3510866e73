#include "tools/sluice/state_file.hpp"

#include "tools/sluice/text.hpp"
#include "tools/sluice/units.hpp"

#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <utility>

namespace sluice::tools {
namespace {

using nlohmann::json;
constexpr std::string_view kHead = "sluice-state 1 ";
constexpr std::size_t kMaxFile = 256u << 20;

std::uint64_t fnv1a(std::string_view text) noexcept {
  std::uint64_t hash = 0xcbf2'9ce4'8422'2325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x0000'0100'0000'01b3;
  return hash;
}

std::string to_hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += kDigits[static_cast<unsigned char>(c) >> 4];
    text += kDigits[static_cast<unsigned char>(c) & 0xf];
  }
  return text;
}

std::optional<std::string> from_hex(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  if (text.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const std::size_t high = kDigits.find(text[i]);
    const std::size_t low = kDigits.find(text[i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    bytes += static_cast<char>(high << 4 | low);
  }
  return bytes;
}

// The system's sentence for what failed with `path`.
Error failure(const std::string& path, const char* what) {
  const int error = errno;
  return {Errc::system, error, joined({clean(path), ": ", what, ": ", std::strerror(error)})};
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

std::string print_state(const StateContents& contents) {
  json keys = json::array();
  for (const auto& [key, value] : contents.values) {
    json one{{"key", key}, {"revision", value.revision}};
    if (is_text(value.bytes)) {
      one["text"] = value.bytes;
    } else {
      one["hex"] = to_hex(value.bytes);
    }
    keys.push_back(std::move(one));
  }
  const json all{
      {"bucket", contents.bucket}, {"revision", contents.revision}, {"keys", std::move(keys)}};
  const std::string body = all.dump() + "\n";
  return joined({kHead, hex16(fnv1a(body)), "\n", body});
}

std::optional<StateContents> parse_state(std::string_view text) {
  if (!text.starts_with(kHead)) return std::nullopt;
  text.remove_prefix(kHead.size());
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const auto hash = parse_hex16(text.substr(0, end));
  text.remove_prefix(end + 1);
  if (!hash || *hash != fnv1a(text)) return std::nullopt;
  // Whole, and ours; what is wrong all the same was never written by us.
  try {
    const json all = json::parse(text);
    StateContents contents;
    contents.bucket = all.at("bucket").get<std::string>();
    contents.revision = all.at("revision").get<std::uint64_t>();
    for (const json& one : all.at("keys")) {
      StateContents::Value value{one.at("revision").get<std::uint64_t>(), {}};
      if (one.contains("text")) {
        value.bytes = one.at("text").get<std::string>();
      } else {
        auto bytes = from_hex(one.at("hex").get<std::string>());
        if (!bytes) return std::nullopt;
        value.bytes = std::move(*bytes);
      }
      contents.values.insert_or_assign(one.at("key").get<std::string>(), std::move(value));
    }
    return contents;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

Result<void> StateFile::lock() {
  const std::string name = path_ + ".lock";
  lock_ = shm::UniqueFd{::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  if (!lock_.valid()) return failure(name, "open");
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0) return {};
  if (errno != EWOULDBLOCK) return failure(name, "lock");
  return Error{Errc::refused, 0, clean(path_) + " is kept by another process already"};
}

Result<void> StateFile::read() {
  const shm::UniqueFd file{::open(path_.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file.valid()) {
    if (errno == ENOENT) return {};
    return failure(path_, "open");
  }
  struct stat about {};
  if (::fstat(file.get(), &about) != 0) return failure(path_, "stat");
  if (!S_ISREG(about.st_mode)) {
    return Error{Errc::invalid_argument, 0, clean(path_) + " is no ordinary file"};
  }
  std::string text;
  if (static_cast<std::uint64_t>(about.st_size) <= kMaxFile) {
    text.resize(static_cast<std::size_t>(about.st_size));
    std::size_t done = 0;
    while (done != text.size()) {
      const ssize_t n = ::read(file.get(), text.data() + done, text.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failure(path_, "read");
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    text.resize(done);
  }
  if (auto parsed = parse_state(text)) {
    if (parsed->bucket != contents_.bucket) {
      return Error{Errc::refused, 0,
                   joined({clean(path_), " is the file of the bucket '", clean(parsed->bucket),
                           "'; give another --file"})};
    }
    contents_ = std::move(*parsed);
    return {};
  }
  set_aside_ = path_ + ".damaged-" + std::to_string(std::time(nullptr));
  if (::rename(path_.c_str(), set_aside_.c_str()) != 0) return failure(path_, "set aside");
  return {};
}

Result<StateFile> StateFile::open(const std::string& path, std::string_view bucket) {
  StateFile file;
  file.path_ = path;
  file.contents_.bucket = bucket;
  if (auto locked = file.lock(); !locked) return locked.error();
  if (auto read = file.read(); !read) return read.error();
  return file;
}

Result<void> StateFile::write(const StateContents& contents) const {
  const std::string fresh = path_ + ".new";
  {
    const shm::UniqueFd file{::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    if (!file.valid()) return failure(fresh, "open");
    if (!write_all(file.get(), print_state(contents))) return failure(fresh, "write");
    if (::fsync(file.get()) != 0) return failure(fresh, "fsync");
  }
  if (::rename(fresh.c_str(), path_.c_str()) != 0) return failure(path_, "rename");
  // The new name is on disk when its folder is.
  const std::string folder = folder_of(path_);
  const shm::UniqueFd entry{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!entry.valid()) return failure(folder, "open");
  if (::fsync(entry.get()) != 0) return failure(folder, "fsync");
  return {};
}

Result<void> StateFile::store(std::string_view key, std::string_view value, std::uint64_t revision,
                              bool deleted) {
  StateContents next = contents_;
  next.revision = std::max(next.revision, revision);
  if (deleted) {
    if (const auto at = next.values.find(key); at != next.values.end()) next.values.erase(at);
  } else {
    next.values.insert_or_assign(std::string{key},
                                 StateContents::Value{revision, std::string{value}});
  }
  if (auto written = write(next); !written) return written;
  contents_ = std::move(next);
  return {};
}

}  // namespace sluice::tools
