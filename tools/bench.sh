#!/usr/bin/env bash
# Sluice and its peers, measured side by side on this machine; installs first what that needs
# (tools/setup.sh), and builds it in build/bench.
#
#   tools/bench.sh [--quick] [--json] [--gate] [--only PATTERN] [--list] [other arguments for sluice_bench]
#
# Prints one table; with --json all results follow as one JSON object on the last line. The exit code is 0
# only if every measurement passed its verification; with --gate it is 4 when a target was missed.
# What is done and how to read it: tests/bench/README.md.
#
# SLUICE_JOBS: compilers at the same time; as many as there are processors, unless memory is short.
set -euo pipefail
cd "$(dirname "$0")/.."

for argument in "$@"; do
  case $argument in
    -h | --help)
      sed -n '2,/^set/ { /^#/ s/^# \{0,1\}//p }' "$0"
      exit 0
      ;;
  esac
done

# The standard output is the table's alone.
tools/setup.sh bench >&2

echo "== build bench" >&2
cmake --preset bench >/dev/null
cmake --build --preset bench --target sluice_bench --parallel "$(tools/jobs.sh)" >&2

revision=$(git describe --always --dirty 2>/dev/null || echo unknown)
exec build/bench/bin/sluice_bench --revision "$revision" "$@"
