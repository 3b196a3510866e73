#!/usr/bin/env bash
# Runs commands with a broker of their own, in the background all but the last one, whose exit code counts.
#
#   with_broker.sh SLUICED COMMAND… [-- COMMAND…]…
set -euo pipefail
sluiced=$1
shift
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
export SLUICE_SOCKET=$folder/sluiced.sock
"$sluiced" --socket "$SLUICE_SOCKET" --log-level warning &

command=()
for word in "$@"; do
  if [[ $word == -- ]]; then
    "${command[@]}" &
    command=()
  else
    command+=("$word")
  fi
done
"${command[@]}"
