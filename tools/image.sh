#!/usr/bin/env bash
# Builds a bootable image for 64-bit Arm, boots it in qemu-system-aarch64, and judges what it says over its serial line.
#
#   tools/image.sh [--build-only] [--timeout SECONDS] tiny|camera|systemd
#
# tiny      initramfs: kernel, busybox, the broker, the tool, two processes that talk
# camera    initramfs: capture from the V4L2 cameras of the kernel's driver vivid, a detector, the monitor
# systemd   a Debian root file system on a disk, with the units of packaging/systemd
#
# Debian's kernel and user land are unpacked from packages of this machine's own apt sources; nothing is installed but the
# tools that `tools/setup.sh cross image` names, and all is written below build/. The second time what is there is used.
# --timeout: how long the machine may run until it is switched off, 600. When something is wrong the serial log is shown;
# it lies in build/image/NAME/serial.log. See docs/images.md.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "image: $*" >&2
  exit 1
}

timeout=600
build_only=
while [[ $# -gt 0 ]]; do
  case $1 in
    --build-only) build_only=yes ;;
    --timeout)
      timeout=${2-}
      shift
      ;;
    -h | --help)
      sed -n '2,/^set/ { /^#/ s/^# \{0,1\}//p }' "$0"
      exit 0
      ;;
    tiny | camera | systemd) kind=$1 ;;
    *) fail "no option and no image '$1'; see tools/image.sh --help" ;;
  esac
  shift
done
[[ -n ${kind-} ]] || fail "name an image: tiny, camera or systemd"
[[ $timeout =~ ^[1-9][0-9]{0,4}$ ]] || fail "--timeout needs a whole number of seconds, not '$timeout'"

tools/setup.sh cross image
variant=
[[ $kind != tiny ]] || variant=-core
sysroot=${SLUICE_SYSROOTS:-$PWD/build/sysroot}/aarch64$variant
built=build/aarch64$variant
. packaging/image/parts.sh
. "packaging/image/$kind/build.sh"

out=build/image/$kind
mkdir -p "$out"
exec 9>"$out.lock"
flock 9 # one at a time builds and boots it
make_image "$out"
[[ -z $build_only ]] || exit 0

powered_off=yes
boot "$out" "$timeout" || powered_off=
[[ $powered_off ]] || echo "image: the machine did not power off within $timeout s" >&2
if ! python3 -B packaging/image/verdict.py "$kind" "$out/serial.log" || [[ ! $powered_off ]]; then
  echo "image: what the machine has said, $out/serial.log:" >&2
  tail -n 200 "$out/serial.log" >&2
  exit 1
fi
echo "image: the $kind image is well"
