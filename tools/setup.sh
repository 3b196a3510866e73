#!/usr/bin/env bash
# Installs what a purpose needs, with apt-get, and only what is missing.
#
#   tools/setup.sh <purpose>…             see `packages_for` below, or `tools/setup.sh --list`
#   tools/setup.sh --packages <purpose>…  installs nothing, prints the packages' names, one a line
#
# Made for Debian 12; runs as root, or with sudo. The second time it only looks, and prints nothing.
set -euo pipefail

purposes="core capture vision iceoryx photos demo test coverage model fuzz bench tidy cross package image cross-test"

packages_for() {
  case $1 in
    core) echo g++ cmake ninja-build libboost-dev flatbuffers-compiler libflatbuffers-dev libcli11-dev libspdlog-dev libsystemd-dev libtomlplusplus-dev pkg-config nlohmann-json3-dev libncurses-dev libturbojpeg0-dev libsqlite3-dev ;;
    capture) echo libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav ;;
    vision) echo libopencv-dev opencv-data ;;
    iceoryx) echo iceoryx libiceoryx-posh-dev libiceoryx-hoofs-dev libacl1-dev ;;
    photos) echo visp-images-data python-matplotlib-data ;;
    demo) echo "$(packages_for core) $(packages_for capture) $(packages_for vision) $(packages_for photos)" ;;
    test) echo "$(packages_for demo) $(packages_for iceoryx) libgtest-dev python3 procps tmux man-db strace systemd" ;;
    coverage) echo "$(packages_for core) libgtest-dev python3" ;;
    model) echo spin gcc tcc libc6-dev ;;
    fuzz) echo "$(packages_for core) libgtest-dev clang-14 libclang-rt-14-dev" ;;
    bench) echo "$(packages_for core) libbenchmark-dev $(packages_for iceoryx) libzmq3-dev libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev gstreamer1.0-plugins-base gstreamer1.0-plugins-bad pkg-config" ;;
    tidy) echo "$(packages_for demo) $(packages_for iceoryx) clang-tidy-14 clang-format-14" ;;
    cross) echo g++-aarch64-linux-gnu g++-arm-linux-gnueabihf qemu-user-static mmdebstrap cmake ninja-build flatbuffers-compiler pkg-config ;;
    package) echo build-essential debhelper dpkg-dev git lintian man-db ;;
    image) echo qemu-system-arm cpio kmod e2fsprogs python3 ;;
    cross-test) echo "$(packages_for cross) $(packages_for core) libgtest-dev python3" ;;
    *) return 1 ;;
  esac
}

fail() {
  echo "setup: $*" >&2
  exit 1
}

if [[ ${1-} == --list ]]; then
  for purpose in $purposes; do
    echo "$purpose: $(packages_for "$purpose")"
  done
  exit 0
fi
list=
if [[ ${1-} == --packages ]]; then
  list=yes
  shift
fi
[[ $# -gt 0 ]] || fail "name one or more of: $purposes"

wanted=()
for purpose in "$@"; do
  packages=$(packages_for "$purpose") || fail "no purpose '$purpose'; there are: $purposes"
  read -ra packages <<<"$packages"
  wanted+=("${packages[@]}")
done
if [[ -n $list ]]; then
  printf '%s\n' "${wanted[@]}" | sort -u
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  fail "no apt-get here. These Debian 12 packages, or what corresponds to them, are needed: ${wanted[*]}"
fi

missing=()
for package in $(printf '%s\n' "${wanted[@]}" | sort -u); do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  # A package of several architectures answers once for each, run together.
  [[ $status == *installed* && $status != not-installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  command -v sudo >/dev/null || fail "run as root, or install sudo. Missing: ${missing[*]}"
  as_root=(sudo)
fi

# apt <arguments>: quiet, but everything is shown when it fails.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  # Through env, since sudo may drop the variable.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq \
    -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" </dev/null >"$log" 2>&1 ||
    {
      cat "$log" >&2
      fail "apt-get $1 failed; missing: ${missing[*]}"
    }
}

echo "setup: installing for $*: ${missing[*]}"
apt update
# Small images leave out what lies in /usr/share/doc; iceoryx has its examples there, which the tests use.
apt install -y --no-install-recommends \
  -o Dpkg::Options::='--path-include=/usr/share/doc/libiceoryx-posh-dev/*' "${missing[@]}"
