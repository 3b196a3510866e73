#!/usr/bin/env bash
# Builds for 64-bit and 32-bit Arm into build/aarch64 and build/armhf; installs first what that needs, and unpacks the
# libraries of the target (tools/setup.sh cross, tools/sysroot.sh).
#
#   tools/cross-build.sh [--core] [aarch64] [armhf] [-- targets…]     default: both architectures, everything
#
# --core   without OpenCV and GStreamer, into build/aarch64-core and build/armhf-core
#
# `cmake --install build/aarch64 --strip --prefix <folder>` then gives what is copied to the device.
# SLUICE_JOBS: compilers at the same time; the default is tools/jobs.sh's.
set -euo pipefail
cd "$(dirname "$0")/.."

. tools/cross-arguments.sh
targets=()
case ${1-} in
  '') ;;
  --) [[ $# -eq 1 ]] || targets=(--target "${@:2}") ;;
  *)
    echo "cross-build: '$1' is no architecture (aarch64, armhf); targets come after --" >&2
    exit 2
    ;;
esac

tools/setup.sh cross
jobs=$(tools/jobs.sh)
for architecture in "${architectures[@]}"; do
  tools/sysroot.sh "${core[@]}" "$architecture"
  preset=$architecture${core:+-core}
  echo "== build $preset"
  cmake --preset "$preset" >/dev/null
  cmake --build --preset "$preset" --parallel "$jobs" "${targets[@]}"
done
