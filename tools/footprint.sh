#!/usr/bin/env bash
# Prints what libraries, broker and tool take on a device, stripped, for this machine's build and each core build.
#
#   tools/footprint.sh [build folders…]      default: build/release build/aarch64-core build/armhf-core, those that exist
#
# Bytes of the files, in kB of 1000.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "footprint: $*" >&2
  exit 1
}

folders=("$@")
if [[ $# -eq 0 ]]; then
  for folder in build/release build/aarch64-core build/armhf-core; do
    [[ ! -e $folder/bin/sluice ]] || folders+=("$folder")
  done
  [[ ${#folders[@]} -gt 0 ]] || fail "nothing is built; run tools/cross-build.sh --core"
fi

stripped=$(mktemp)
trap 'rm -f "$stripped"' EXIT
# size_of <tool to strip with> <file>
size_of() {
  "$1" -o "$stripped" "$2"
  stat -c %s "$stripped"
}

printf '%-24s %10s %10s %10s %10s %10s\n' build libsluice pipeline sluiced sluice together
for folder in "${folders[@]}"; do
  files=("$folder"/lib/libsluice.so.*.*.* "$folder"/lib/libsluice_pipeline.so.*.*.* "$folder"/bin/sluiced "$folder"/bin/sluice)
  strip=$(sed -n 's/^CMAKE_STRIP:FILEPATH=//p' "$folder/CMakeCache.txt")
  [[ -n $strip ]] || fail "$folder is no build folder"
  together=0
  printf '%-24s' "$(basename "$folder")"
  for file in "${files[@]}"; do
    [[ -e $file ]] || fail "there is no $file; build it first"
    bytes=$(size_of "$strip" "$file")
    together=$((together + bytes))
    printf ' %7d kB' $(((bytes + 500) / 1000))
  done
  printf ' %7d kB\n' $(((together + 500) / 1000))
done
