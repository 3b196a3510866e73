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
cp -r "$(dirname "$0")/project" "$folder/project"
for place in "$source" "$build" "$folder/first"; do
  if grep --recursive --fixed-strings --files-with-matches --binary-files=without-match \
    "$place" "$folder/prefix"; then
    echo "installed files above name a folder of the build: $place" >&2
    exit 1
  fi
done

libdir=$(dirname "$(find "$folder/prefix" -name pkgconfig -type d)")
case $way in
  cmake)
    "$cmake" -S "$folder/project" -B "$folder/out" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
      -DCMAKE_PREFIX_PATH="$folder/prefix" >/dev/null
    "$cmake" --build "$folder/out"
    ;;
  pkg-config)
    export PKG_CONFIG_PATH=$libdir/pkgconfig
    static=()
    [[ -e $libdir/libsluice.so ]] || static=(--static)
    read -ra flags <<<"$(pkg-config "${static[@]}" --cflags --libs sluice-pipeline)"
    mkdir "$folder/out"
    "$compiler" -std=c++20 "$folder/project/main.cpp" "${flags[@]}" -o "$folder/out/consumer"
    ;;
esac
LD_LIBRARY_PATH=$libdir "$folder/out/consumer"
