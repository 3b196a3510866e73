#!/usr/bin/env bash
# Runs commands with a broker of their own, in the background all but the last one, whose exit code counts.
#
#   with_broker.sh SLUICED COMMAND… [-- COMMAND…]…
#
# SLUICE_EMULATOR: runs them, when they are of another machine (tests/emulated of a cross build).
set -euo pipefail
sluiced=$1
shift
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
export SLUICE_SOCKET=$folder/sluiced.sock
emulator=(${SLUICE_EMULATOR:+"$SLUICE_EMULATOR"})
"${emulator[@]}" "$sluiced" --socket "$SLUICE_SOCKET" --log-level warning &

command=()
for word in "$@"; do
  if [[ $word == -- ]]; then
    "${emulator[@]}" "${command[@]}" &
    command=()
  else
    command+=("$word")
  fi
done
"${emulator[@]}" "${command[@]}"
