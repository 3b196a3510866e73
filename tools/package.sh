#!/usr/bin/env bash
# Builds the Debian packages from what is committed, into build/packages; installs first what that needs.
#
#   tools/package.sh [--arch amd64|arm64|armhf] [--core] [--from FOLDER] [--output FOLDER] [--version VERSION]
#
#   --arch     for which architecture; default: this machine's. Another one is built with Debian's cross compiler
#              against the unpacked root that tools/sysroot.sh makes
#   --core     without sluice-pipeline: no OpenCV, no GStreamer
#   --from     takes the programs out of this build folder, which decides about --core, and the rest of the tree as
#              it stands: quick, for tests and images; without Debian's compiler options and without symbols for
#              debuggers
#   --output   where the packages are put; those that are there of the same architecture are replaced
#   --version  another one than packaging/debian/changelog says
#
# debhelper does the work, with packaging/debian/ as debian/ in a copy of the tree. lintian has the last word:
# anything but what packaging/debian/*.lintian-overrides explains is a failure.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."
source=$PWD

fail() {
  echo "package: $*" >&2
  exit 1
}

own=$(dpkg --print-architecture)
arch=$own core='' from='' output=$source/build/packages version=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --core) core=-core ;;
    --arch | --from | --output | --version)
      [[ -n ${2-} ]] || fail "$1 needs a value"
      declare "${1#--}=$2"
      shift
      ;;
    -h | --help)
      sed -n '2,/^set/ { /^#/ s/^# \{0,1\}//p }' tools/package.sh
      exit 0
      ;;
    *) fail "no option '$1'; see --help" ;;
  esac
  shift
done
cd "$here"
mkdir -p "$output"
output=$(cd "$output" && pwd)
case $arch in
  "$own") preset= ;;
  arm64) preset=aarch64 ;;
  armhf) preset=armhf ;;
  *) fail "no architecture '$arch'; there are $own, arm64 and armhf" ;;
esac
if [[ $from ]]; then
  [[ -f $from/CMakeCache.txt ]] || fail "'$from' is no build folder"
  from=$(cd "$from" && pwd)
  core=-core
  ! grep -q '^SLUICE_BUILD_CAPTURE:BOOL=ON' "$from/CMakeCache.txt" || core=
fi
cd "$source"

purposes=(package core iceoryx)
[[ $core ]] || purposes+=(capture vision)
options=(--build=binary --unsigned-changes --unsigned-buildinfo)
profiles=nocheck${core:+,pkg.sluice.core}
if [[ $from ]] && ! grep -q '^SLUICE_BUILD_ICEORYX:BOOL=ON' "$from/CMakeCache.txt"; then
  profiles+=,pkg.sluice.noiceoryx
fi
cmake_options=()
if [[ $preset ]]; then
  purposes=(package cross)
  options+=(--host-arch="$arch" --no-check-builddeps) # what is needed is in the other root
  profiles+=,cross
fi
tools/setup.sh "${purposes[@]}"
triplet=$(dpkg-architecture --host-arch "$arch" --query DEB_HOST_MULTIARCH 2>/dev/null)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/sluice
mkdir -p "$tree"
if [[ $from ]]; then
  cp -r README.md docs examples packaging "$tree"
elif git rev-parse --verify --quiet HEAD >/dev/null; then
  git archive HEAD | tar -x -C "$tree"
  [[ -z $(git status --porcelain) ]] || echo "package: what is not committed is left out" >&2
else # of a source archive
  tar -c --exclude=./build . | tar -x -C "$tree"
fi
cp -r "$tree/packaging/debian" "$tree/debian"
[[ -z $version ]] || sed -i "1 s/(.*)/($version)/" "$tree/debian/changelog"

if [[ $preset ]]; then
  tools/sysroot.sh ${core:+--core} "$preset"
  sysroot=${SLUICE_SYSROOTS:-$source/build/sysroot}/$preset$core
  [[ -e $sysroot/shlibs ]] || fail "$sysroot does not say whose its libraries are; remove it, and it is made anew"
  cmake_options=(-DCMAKE_TOOLCHAIN_FILE="$source/cmake/toolchains/$preset.cmake" -DSYSROOT="$sysroot"
    -DPKG_CONFIG_EXECUTABLE="$(command -v pkg-config)")
  libraries=$sysroot/usr/lib/$triplet
  export SLUICE_PACKAGE_LIBS="$libraries $sysroot/lib/$triplet $libraries/blas $libraries/lapack"
  grep -v '^udeb:' "$sysroot/shlibs" | sort -u >"$tree/debian/shlibs.local"
fi
export SLUICE_PACKAGE_CMAKE="${cmake_options[*]}"

# A second, fresh configuration says where things lie below /usr and what the installed text files say. It builds
# nothing: the programs and libraries are those of the folder, without the paths that make them run there.
take_built() {
  local kept
  mapfile -t kept < <(grep -E '^SLUICE_(SHARED|SYSTEMD|BUILD_(TOOLS|DAEMONS|CAPTURE|VISION|RECORDER|ICEORYX)):' \
    "$from/CMakeCache.txt" | sed 's/^/-D/')
  cmake --install "$from" --prefix "$work/built"
  cmake -S "$source" -B "$work/build" -G Ninja "${kept[@]}" "${cmake_options[@]}" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_INSTALL_LIBDIR="lib/$triplet" -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON
  mkdir -p "$work/build/lib" "$work/build/bin"
  cp -a "$(dirname "$(find "$work/built" -name libsluice.so)")"/*.so* "$work/build/lib"
  cp -a "$work/built/bin/." "$work/build/bin"
  DESTDIR=$work/installed cmake --install "$work/build"
}

build() {
  [[ -z $from ]] || take_built
  cd "$tree"
  dpkg-buildpackage "${options[@]}" --build-profiles="$profiles"
}

echo "== package $arch$core${from:+ from $from}"
DEB_BUILD_OPTIONS="nocheck parallel=$(tools/jobs.sh) ${DEB_BUILD_OPTIONS-}"
if [[ $from ]]; then
  DEB_BUILD_OPTIONS+=' noautodbgsym'
  export SLUICE_PACKAGE_TREE=$work/installed
  options+=(--no-check-builddeps)
fi
export DEB_BUILD_OPTIONS
log=$work/log
set +e # a tested command would go on after an error
(
  set -e
  build
) >"$log" 2>&1
built=$?
set -e
if [[ $built -ne 0 ]]; then
  tail -n 60 "$log" >&2
  mkdir -p build
  cp "$log" "build/package-$arch$core.log"
  fail "the packages cannot be built; all that was said is in build/package-$arch$core.log"
fi
rm -f "$output"/*_"$arch".{deb,changes,buildinfo}
mv "$work"/*_"$arch".{deb,changes,buildinfo} "$output"
# Programs that were compiled otherwise lack Debian's hardening, which lintian only informs about. Machine code may
# look like words.
checks=(--info --tag-display-limit 0 --suppress-tags spelling-error-in-binary)
if [[ $from ]]; then
  checks+=('--fail-on=error,warning')
else
  checks+=('--fail-on=error,warning,info' --display-info)
fi
lintian --allow-root "${checks[@]}" "$output"/sluice_*_"$arch".changes
(cd "$output" && ls -sh1 ./*_"$arch".deb)
