#!/usr/bin/env bash
# The packages in a Debian of their own (mmdebstrap, a chroot): installed, used, upgraded, removed, purged.
#
#   install_test.sh <build folder>      as root; takes the network that apt takes
#
# The first version is built as users build it, by tools/package.sh, or lies in the folder SLUICE_PACKAGES already; the
# second one comes out of the build folder. SLUICE_QUICK_PACKAGES=1: the first one, too.
set -euo pipefail
build=$1
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)

skip() {
  echo "install_test: skipped, $*"
  exit 77
}
[[ $(id -u) -eq 0 ]] || skip "a chroot needs root"
for program in mmdebstrap unshare dpkg-buildpackage lintian; do
  command -v "$program" >/dev/null || skip "there is no $program (tools/setup.sh package cross)"
done

folder=$(mktemp -d)
trap 'rm -rf --one-file-system "$folder"' EXIT
root=$folder/root

from=()
[[ ${SLUICE_QUICK_PACKAGES-} != 1 ]] || from=(--from "$build")
if [[ ${SLUICE_PACKAGES-} ]]; then
  mkdir "$folder/first"
  cp "$SLUICE_PACKAGES"/*_"$(dpkg --print-architecture)".deb "$folder/first"
else
  "$source/tools/package.sh" "${from[@]}" --output "$folder/first"
fi
"$source/tools/package.sh" --from "$build" --version 0.1.0+next --output "$folder/second"

release=$(. /etc/os-release && echo "$VERSION_CODENAME")
sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) main' 'Created-By: Packages' 'Component: main' |
  grep -E " $release(-updates|-security)? " | sort -u)
[[ $sources ]] || skip "apt knows no source of '$release main'"
options=()
for setting in Acquire::http::Proxy Acquire::https::Proxy; do
  value=$(apt-config dump --format '%v' "$setting")
  [[ -z $value ]] || options+=(--aptopt="$setting \"$value\"")
done
# What a consumer needs to compile is there from the beginning; what the packages need is apt's part later.
mmdebstrap --mode=root --variant=apt --include=g++,cmake,ninja-build,pkg-config,ca-certificates "${options[@]}" \
  --aptopt='Acquire::Retries "3"' "$release" "$root" - <<<"$sources" >"$folder/log" 2>&1 ||
  { cat "$folder/log" >&2 && exit 1; }

cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
mkdir "$root/packages"
rm -f "$folder"/*/*-dbgsym_*.deb
cp -r "$folder/first" "$folder/second" "$root/packages"
cp -r "$source/tests/consumer/project" "$root/packages/project"
cp "$here/installed.sh" "$root/packages"
# The packages that documents name, with the wildcards that they have.
grep -hoE "\./[a-z/]*\{sluiced,[^ ']+\.deb" "$source"/{README.md,docs/{packaging,raspberry-pi}.md} |
  sed 's/_amd64//' >"$root/packages/documented"
[[ $(wc -l <"$root/packages/documented") -eq 3 ]] || { echo "install_test: documents install otherwise" >&2 && exit 1; }
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # nothing is started by itself in a chroot
chmod +x "$root/usr/sbin/policy-rc.d"

# Namespaces of its own: what is mounted and started in there ends with it.
unshare --mount --pid --fork --kill-child --mount-proc="$root/proc" \
  chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
  http_proxy="${http_proxy-}" https_proxy="${https_proxy-}" bash /packages/installed.sh
