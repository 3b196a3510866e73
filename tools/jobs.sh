#!/usr/bin/env bash
# Prints how many compilers may run at the same time: SLUICE_JOBS, or one per processor, but no more than
# there are gigabytes of free memory, since a compiler takes up to one.
set -euo pipefail
memory_gb=$(awk '/^MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)
processors=$(nproc)
jobs=$((memory_gb < processors ? memory_gb : processors))
echo "${SLUICE_JOBS:-$((jobs < 1 ? 1 : jobs))}"
