// For ThreadSanitizer: publisher and readers of one process on one mapping.
//
// A publisher and a reader map a stream at addresses of their own, so ThreadSanitizer sees neither
// a race between them nor what orders them. A program that links one_mapping.cpp with the options
//
//   -Wl,--wrap=mmap,--wrap=mmap64,--wrap=munmap
//
// gets the writable mapping of a memfd again when it maps the same memfd for reading.
#pragma once

#include <cstdint>

namespace sluice::test {

/// How often a mapping was shared; not 0 shows that the linker options are in place.
std::uint64_t shared_mappings();

}  // namespace sluice::test
