#!/usr/bin/env bash
# Installs the build, moves the installed tree, and builds and runs project/ against what is there.
#
#   run.sh cmake|pkg-config <cmake> <build folder> <source folder> <c++ compiler>
set -euo pipefail
way=$1 cmake=$2 build=$3 source=$4 compiler=$5

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$cmake" --install "$build" --prefix "$folder/first" >/dev/null
# Moved after installing, and the project copied out of the source tree: neither may lean on where it was.
mv "$folder/first" "$folder/prefix"
for place in "$source" "$build" "$folder/first"; do
  if grep --recursive --fixed-strings --files-with-matches --binary-files=without-match \
    "$place" "$folder/prefix"; then
    echo "installed files above name a folder of the build: $place" >&2
    exit 1
  fi
done
if [[ -e $folder/prefix/bin/sluice ]]; then # finds the library from where it lies
  "$folder/prefix/bin/sluice" --version >/dev/null
fi
"$(dirname "$0")/consume.sh" "$way" "$cmake" "$folder/prefix" "$source" "$compiler" "$folder/consumer"
