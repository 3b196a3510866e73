// Which symbols leave the library.
//
// Everything in Sluice is compiled with hidden visibility; what stands in a public header and lives
// in a .cpp carries SLUICE_EXPORT:
//
//     class SLUICE_EXPORT Publisher { … };
//     SLUICE_EXPORT Result<Version> parse_version(std::string_view text);
//
// The imported targets and sluice.pc define SLUICE_STATIC when the library was built static. Then the
// macro is empty, so that a program which links Sluice into a shared object of its own does not export
// Sluice's symbols from there.
#pragma once

#if defined(SLUICE_STATIC)
#define SLUICE_EXPORT
#else
#define SLUICE_EXPORT __attribute__((visibility("default")))
#endif
