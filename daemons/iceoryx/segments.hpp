// Which shared memory an address of this process lies in.
//
// iceoryx maps its segments by itself and says nowhere where. The kernel does: a line of
// /proc/self/maps names addresses, offset, device, inode and path of each mapping.
#pragma once

#include "shm/fd.hpp"
#include "sluice/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::iceoryx {

/// A file that is mapped from its beginning on, in one piece.
struct MappedFile {
  std::uintptr_t begin = 0, end = 0;
  std::uint64_t inode = 0;
  std::uint64_t device = 0;  ///< As stat has it.
  std::string path;
};

/// What of /proc/self/maps lies below `folder` ("/dev/shm/"), deleted files too.
std::vector<MappedFile> mapped_files(std::string_view maps, std::string_view folder);
/// The one that the address lies in, by this process's maps now.
std::optional<MappedFile> find_mapped(const void* address, std::string_view folder = "/dev/shm/");

/// Opens it for reading, and makes sure that the path still leads to the same file, and that all
/// that is mapped of it is there.
Result<shm::UniqueFd> open_mapped(const MappedFile& file);

}  // namespace sluice::iceoryx
