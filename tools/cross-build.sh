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

core=()
architectures=()
targets=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --core) core=(--core) ;;
    aarch64 | armhf) architectures+=("$1") ;;
    -h | --help)
      sed -n '2,/^set/ { /^#/ s/^# \{0,1\}//p }' "$0"
      exit 0
      ;;
    --)
      shift
      [[ $# -eq 0 ]] || targets=(--target "$@")
      break
      ;;
    *)
      echo "cross-build: '$1' is no architecture (aarch64, armhf); targets come after --" >&2
      exit 2
      ;;
  esac
  shift
done
[[ ${#architectures[@]} -gt 0 ]] || architectures=(aarch64 armhf)

tools/setup.sh cross
jobs=$(tools/jobs.sh)
for architecture in "${architectures[@]}"; do
  tools/sysroot.sh "${core[@]}" "$architecture"
  preset=$architecture${core:+-core}
  echo "== build $preset"
  cmake --preset "$preset" >/dev/null
  cmake --build --preset "$preset" --parallel "$jobs" "${targets[@]}"
done
