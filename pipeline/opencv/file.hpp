// Files that are there whole or not at all.
#pragma once

#include "sluice/result.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace sluice::opencv {

/// Writes a file beside `path` and renames it: who reads `path` sees the old or the new one. The
/// error names the file and what the system said.
Result<void> write_file(const std::string& path, std::span<const std::uint8_t> bytes);

/// All of a regular file of at most `limit` bytes.
Result<std::vector<std::uint8_t>> read_file(const std::string& path, std::size_t limit);

}  // namespace sluice::opencv
