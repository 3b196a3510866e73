#!/usr/bin/env bash
# Builds and runs project/, copied out of the source tree, against what is installed below a prefix.
#
#   consume.sh cmake|pkg-config <cmake> <prefix> <source folder> <c++ compiler> <new folder>
set -euo pipefail
way=$1 cmake=$2 prefix=$3 source=$4 compiler=$5 folder=$6

mkdir -p "$folder"
cp -r "$source/tests/consumer/project" "$folder/project"
libdir=$(dirname "$(find "$prefix" -name pkgconfig -type d)")
case $way in
  cmake)
    "$cmake" -S "$folder/project" -B "$folder/out" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
      -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
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
