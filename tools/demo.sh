#!/usr/bin/env bash
# Runs the main job: a producer process and three consumer processes exchange 1080p frames over one
# stream and print rates, ages and losses. Does its own set-up on Debian 12.
#
#   tools/demo.sh [--json] [--seconds N] [other options of `sluice demo`]
set -euo pipefail
cd "$(dirname "$0")/.."

# The standard output is the demo's alone.
tools/setup.sh demo >&2
if ! log=$(cmake -S . -B build/demo -G Ninja -DCMAKE_BUILD_TYPE=Release -DSLUICE_BUILD_TESTS=OFF 2>&1 &&
  cmake --build build/demo --target sluice_tool 2>&1); then
  echo "$log" >&2
  exit 1
fi
exec build/demo/bin/sluice demo "$@"
