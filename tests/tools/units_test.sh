#!/usr/bin/env bash
# systemd finds nothing to complain about in the units.
#
#   units_test.sh <folder of the sources> <sluiced>
set -euo pipefail
source=$1 sluiced=$2

command -v systemd-analyze >/dev/null || exit 77 # skipped

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$source/sluiced.socket" "$folder"
sed "s|@CMAKE_INSTALL_FULL_BINDIR@/sluiced|$sluiced|" "$source/sluiced.service.in" >"$folder/sluiced.service"
complaints=$(systemd-analyze verify "$folder/sluiced.socket" "$folder/sluiced.service" 2>&1)
if [[ -n $complaints ]]; then
  echo "$complaints"
  exit 1
fi
