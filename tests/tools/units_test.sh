#!/usr/bin/env bash
# systemd finds nothing to complain about in the units, they are no less hardened than docs/packaging.md says, and
# systemd-sysusers makes the users that they run as.
#
#   units_test.sh <folder of the sources> <folder of the programs> <docs/packaging.md>
set -euo pipefail
source=$1 programs=$2 documented=$3

if ! command -v systemd-analyze >/dev/null; then
  echo "units_test: skipped, there is no systemd-analyze (Debian's package systemd)"
  exit 77
fi
fail() {
  echo "units_test: $*" >&2
  exit 1
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
units=("$folder/sluiced.socket")
cp "$source/sluiced.socket" "$folder"
for template in "$source"/*.service.in; do
  name=$(basename "$template" .in)
  program=$(sed -n 's|^ExecStart=@CMAKE_INSTALL_FULL_BINDIR@/\([^ ]*\).*|\1|p' "$template")
  # A part that is not built is represented by a program that is there.
  [[ -x $programs/$program ]] && program=$programs/$program || program=/bin/true
  sed "s|@CMAKE_INSTALL_FULL_BINDIR@/[^ ]*|$program|" "$template" >"$folder/$name"
  units+=("$folder/${name/@/@instance}")
done

# It returns 0 for unknown keys: what it says counts.
complaints=$(systemd-analyze verify --man=no "${units[@]}" 2>&1) || true
[[ -z $complaints ]] || fail "systemd-analyze verify: $complaints"

# Lines of a table: | `unit` | exposure | …. Another systemd counts otherwise.
version=$(systemd-analyze --version | awk 'NR == 1 { print $2 }')
for unit in "$folder"/*.service; do
  name=$(basename "$unit")
  exposure=$(sed -n "s/^| \`$name\` | \([0-9]*\)\.\([0-9]\) |.*/\1\2/p" "$documented")
  [[ $exposure ]] || fail "$documented says nothing about the exposure of $name"
  if [[ $version == 252 ]] &&
    ! said=$(systemd-analyze security --offline=yes --threshold="$exposure" "$unit" 2>&1); then
    fail "more exposed than $documented says: $said"
  fi
done

mkdir -p "$folder/root/etc"
echo 'root:x:0:0:root:/root:/bin/sh' >"$folder/root/etc/passwd"
printf 'root:x:0:\nvideo:x:44:\n' >"$folder/root/etc/group"
systemd-sysusers --root="$folder/root" "$source"/*.sysusers >/dev/null
for user in $(sed -n 's/^User=//p' "$source"/*.service.in | sort -u); do
  grep -q "^$user:" "$folder/root/etc/passwd" || fail "nobody makes the user $user"
done
for group in $(sed -n 's/^\(Supplementary\)\?Groups\?=//p' "$source"/*.service.in | tr ' ' '\n' | sort -u); do
  grep -q "^$group:" "$folder/root/etc/group" || fail "nobody makes the group $group"
done
