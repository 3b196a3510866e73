// Which inner symbols leave libsluice, for Sluice's own programs: broker, tool and the others share
// the library's code instead of bringing it along.
//
// They get a version of their own, SLUICE_PRIVATE_<version> (include/exports.map.in), which the
// headers that are installed do not mention: a program that needs them runs with the library of its
// own build and with no other, and the loader says so. Only what is used when something is set up
// or looked at; what moves frames and messages stays inside the library.
#pragma once

#include "sluice/export.hpp"

#define SLUICE_PRIVATE_EXPORT SLUICE_EXPORT
