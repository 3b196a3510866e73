#!/usr/bin/env bash
# The shared layout as a program writes it down is the one that is kept here: run.sh <program and arguments before the folder…>
#
# A difference is a change of the format, on this machine or from now on: docs/shm_format.md says what to do.
# --update, first, keeps what the program writes.
set -euo pipefail
golden=$(cd "$(dirname "$0")" && pwd)/golden
folder=$(mktemp -d)
scratch=$folder
trap 'rm -rf "$scratch"' EXIT

if [[ ${1-} == --update ]]; then
  shift
  folder=$golden
fi
"$@" "$folder"
diff -u "$golden/layout.txt" "$folder/layout.txt" && diff -u "$golden/bytes.txt" "$folder/bytes.txt" || {
  echo "abi: the shared layout is not the one in tests/abi/golden; see docs/shm_format.md, 'Changes'" >&2
  exit 1
}
