// A picture is looked at while it is replaced, and a process that writes a model may be killed:
// neither may show half a file.
#include "pipeline/opencv/file.hpp"

#include "shm/fd.hpp"
#include "transport/quote.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace sluice::opencv {
namespace {

Error failed(const char* verb, const std::string& path, int error) {
  return {
      Errc::system, error,
      std::string("cannot ") + verb + " " + transport::quoted(path) + ": " + std::strerror(error)};
}

}  // namespace

Result<void> write_file(const std::string& path, std::span<const std::uint8_t> bytes) {
  const std::string temporary = path + ".new-" + std::to_string(::getpid());
  shm::UniqueFd file{
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644)};
  if (!file.valid()) return failed("write", temporary, errno);
  const auto give_up = [&](int error) {
    ::unlink(temporary.c_str());
    return failed("write", path, error);
  };
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return give_up(errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return give_up(errno);
  return {};
}

Result<std::vector<std::uint8_t>> read_file(const std::string& path, std::size_t limit) {
  // Without O_NONBLOCK a pipe under this name would be waited for.
  shm::UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat about {};
  if (!file.valid() || ::fstat(file.get(), &about) != 0) return failed("read", path, errno);
  if (!S_ISREG(about.st_mode)) {
    return Error{Errc::invalid_argument, 0, transport::quoted(path) + " is not a file"};
  }
  if (static_cast<std::uint64_t>(about.st_size) > limit) {
    return Error{Errc::invalid_argument, 0,
                 transport::quoted(path) + " is larger than " + std::to_string(limit) + " bytes"};
  }
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(about.st_size));
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = ::read(file.get(), bytes.data() + have, bytes.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("read", path, errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

}  // namespace sluice::opencv
