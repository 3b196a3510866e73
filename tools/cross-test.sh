#!/usr/bin/env bash
# Builds for 64-bit and 32-bit Arm and passes the tests, emulated (qemu-user): the suites unit, conformance and process of
# each architecture; the bytes in shared memory, which are the same everywhere; and processes of all architectures and
# of this machine that exchange frames, work and requests through one broker of this machine.
#
#   tools/cross-test.sh [--core] [aarch64] [armhf] [arguments for ctest]     default: both architectures
#
# --core   without OpenCV and GStreamer
#
#   tools/cross-test.sh --core armhf -L mixed      one suite (abi, conformance, mixed, process, unit)
#
# SLUICE_JOBS: as for tools/test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

. tools/cross-arguments.sh

purposes=(cross-test)
[[ ${#core[@]} -gt 0 ]] || purposes+=(photos)
tools/setup.sh "${purposes[@]}"
tools/cross-build.sh "${core[@]}" "${architectures[@]}"
jobs=$(tools/jobs.sh)
echo "== build native"
cmake --preset native >/dev/null
cmake --build --preset native --parallel "$jobs"

# In turn with those that were built before: the last exchanges with all.
with=$PWD/build/native
builds=()
for architecture in "${architectures[@]}"; do
  build=$PWD/build/$architecture${core:+-core}
  cmake -DSLUICE_MIXED_WITH="$with" "$build" >/dev/null
  with+=";$build"
  builds+=("$build")
done

mkdir -p build/cross
printf 'subdirs("%s")\n' "${builds[@]}" >build/cross/CTestTestfile.cmake
echo "== test ${builds[*]##*/}"
exec ctest --test-dir build/cross --no-tests=error --output-on-failure --parallel "$jobs" -LE '^long$' "$@"
