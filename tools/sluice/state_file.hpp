// The file of a bucket that `sluice state keep` keeps.
//
//   sluice-state 1 0123456789abcdef      the FNV-1a hash of all that follows this line
//   {"bucket":…,"revision":…,"keys":[{"key":…,"revision":…,"text":…},{…,"hex":…}]}
//
// It is written anew for each change: beside the old one, to the disk, then renamed. So after a
// power cut there is the old one or the new one, never a part.
#pragma once

#include "shm/fd.hpp"
#include "sluice/result.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::tools {

struct StateContents {
  struct Value {
    std::uint64_t revision = 0;
    std::string bytes;
    friend bool operator==(const Value&, const Value&) = default;
  };
  std::string bucket;
  std::uint64_t revision = 0;  ///< The highest there was, of keys that are gone too.
  std::map<std::string, Value, std::less<>> values;
};
std::string print_state(const StateContents& contents);
/// Nothing for what is not whole.
std::optional<StateContents> parse_state(std::string_view text);

/// Move-only. Holds a lock (PATH.lock) on the file for as long as it lives.
class StateFile {
 public:
  /// Reads it if it is there. A damaged one is renamed to PATH.damaged-<time>, and a new one begun;
  /// `set_aside` says so. refused: it is another bucket's, or another process keeps it.
  static Result<StateFile> open(const std::string& path, std::string_view bucket);

  [[nodiscard]] const StateContents& contents() const noexcept { return contents_; }
  /// The damaged file's new name; empty when there was none.
  [[nodiscard]] const std::string& set_aside() const noexcept { return set_aside_; }
  /// On disk when it returns; where it fails nothing has changed.
  Result<void> store(std::string_view key, std::string_view value, std::uint64_t revision,
                     bool deleted);

 private:
  Result<void> lock();
  Result<void> read();
  [[nodiscard]] Result<void> write(const StateContents& contents) const;

  std::string path_;
  shm::UniqueFd lock_;
  StateContents contents_;
  std::string set_aside_;
};

}  // namespace sluice::tools
