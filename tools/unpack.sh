#!/usr/bin/env bash
# Unpacks Debian packages of another architecture, with all that they depend on, into a folder. No foreign code runs, and
# nothing is installed on this machine.
#
#   tools/unpack.sh DEBIAN-ARCHITECTURE FOLDER PACKAGE…      needs mmdebstrap (tools/setup.sh cross)
#
# FOLDER/packages has the list, FOLDER/shlibs says from which package each library is (deb-shlibs(5)).
# Mirror, suites and key come from this machine's own apt configuration. It is made beside its place and moved there when
# complete. The second time it only compares the list of packages; remove the folder for newer ones.
set -euo pipefail

fail() {
  echo "unpack: $*" >&2
  exit 1
}
[[ $# -ge 3 ]] || fail "give an architecture, a folder and packages; see $0"
architecture=$1
folder=$2
shift 2
wanted=$(printf '%s\n' "$@" | sort -u)

mkdir -p "$(dirname "$folder")"
exec 8>"$folder.lock"
flock 8 # two builds may want the same one
if [[ -f $folder/packages ]] && [[ $wanted == "$(<"$folder/packages")" ]]; then
  exit 0
fi
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing; run tools/setup.sh cross"

# This release's entries of sources.list and sources.list.d, as apt itself understands them; other repositories rarely
# have other architectures. The key is not among what apt tells.
release=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
[[ -n $release ]] || fail "/etc/os-release names no VERSION_CODENAME; this needs Debian"
key_of() { # <file>:<number of the entry>
  sed -nE 's/^Signed-By:[[:space:]]*(\/[^[:space:]]+).*/\1/ip; s/^deb[[:space:]]+\[.*signed-by=([^] ]+).*/\1/p' \
    "${1%:*}" | head -n 1
}
sources=
while read -r suite uri entry; do
  key=$(key_of "$entry")
  sources+="deb ${key:+[signed-by=$key] }$uri $suite main"$'\n'
done < <(apt-get indextargets --format '$(RELEASE) $(REPO_URI) $(SOURCESENTRY)' \
  'Created-By: Packages' 'Component: main' | grep -E "^$release(-updates|-security)? " | sort -u)
[[ -n $sources ]] || fail "apt knows no source of '$release main'; see /etc/apt/sources.list"

options=()
for setting in Acquire::http::Proxy Acquire::https::Proxy; do
  value=$(apt-config dump --format '%v' "$setting")
  [[ -z $value ]] || options+=(--aptopt="$setting \"$value\"")
done
[[ $(id -u) -eq 0 ]] || options+=(--mode=chrootless) # no user namespace is needed to unpack

partial=$(mktemp -d "$folder.partial.XXXXXX")
log=$folder.log
trap 'rm -rf "$partial"' EXIT

# unpack <lines of sources.list>
unpack() {
  rm -rf "$partial/root"
  mmdebstrap --variant=extract --architectures="$architecture" --include="$(paste -sd, <<<"$wanted")" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --extract-hook='for deb in "$1"/var/cache/apt/archives/*.deb; do dpkg-deb --info "$deb" shlibs 2>/dev/null || :; done >"$1/shlibs"' \
    --aptopt='Acquire::Retries "3"' "${options[@]}" \
    "$release" "$partial/root" - <<<"$1" >>"$log" 2>&1 8>&-
}
echo "unpack: $architecture packages into $folder: $(tr '\n' ' ' <<<"$wanted")"
: >"$log"
if ! unpack "$sources"; then
  # Mirrors do not always have the updates of an architecture that is not theirs.
  echo "unpack: that failed (see $log); trying $release alone, without updates"
  unpack "$(grep " $release main" <<<"$sources")" || {
    cat "$log" >&2
    fail "mmdebstrap failed"
  }
fi
echo "$wanted" >"$partial/root/packages"
rm -rf "$folder"
mv -T "$partial/root" "$folder"
rm -f "$log"
