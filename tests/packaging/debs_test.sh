#!/usr/bin/env bash
# The packages with this build's programs: lintian is content, each file is in one package and in the right one, and
# somebody who has only what they contain can build and run against it.
#
#   debs_test.sh <build folder>
set -euo pipefail
build=$1
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)

for program in dpkg-buildpackage dh lintian; do
  if ! command -v "$program" >/dev/null; then
    echo "debs_test: skipped, there is no $program (tools/setup.sh package)"
    exit 77
  fi
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() {
  echo "debs_test: $*" >&2
  exit 1
}

"$source/tools/package.sh" --from "$build" --output "$folder/debs"

cd "$folder/debs"
for deb in *.deb; do
  dpkg-deb --fsys-tarfile "$deb" | tar -t | grep -v '/$' | sed 's|^\./||' >"$folder/${deb%%_*}.list"
done

twice=$(cat "$folder"/*.list | sort | uniq -d)
[[ -z $twice ]] || fail "in more than one package: $twice"

# has <package> <extended regular expression>...: a file of that name is there, and in no other package.
has() {
  local package=$1 name
  shift
  for name in "$@"; do
    grep -qxE "$name" "$folder/$package.list" || fail "$package has no $name"
  done
}
has libsluice0.1 'usr/lib/[^/]+/libsluice\.so\.0\.1'
has libsluice-pipeline0.1 'usr/lib/[^/]+/libsluice_pipeline\.so\.0\.1'
has libsluice-dev usr/include/sluice/node.hpp 'usr/lib/[^/]+/libsluice\.so' 'usr/lib/[^/]+/pkgconfig/sluice\.pc' \
  'usr/lib/[^/]+/cmake/sluice/sluiceConfig\.cmake' usr/share/sluice/schemas/results.fbs
has sluiced usr/bin/sluiced etc/sluice/sluiced.toml 'lib/systemd/system/sluiced\.(service|socket)' \
  usr/lib/sysusers.d/sluice.conf usr/share/man/man8/sluiced.8.gz usr/share/man/man5/sluiced.toml.5.gz
has sluice-tools usr/bin/sluice usr/share/man/man1/sluice-top.1.gz usr/share/bash-completion/completions/sluice \
  usr/share/zsh/vendor-completions/_sluice
has sluice-recorder usr/bin/sluice-recorder etc/sluice/sluice-recorder.toml lib/systemd/system/sluice-recorder.service
if [[ -e $folder/sluice-iceoryx.list ]]; then
  has sluice-iceoryx usr/bin/sluice-iceoryx etc/sluice/sluice-iceoryx.toml lib/systemd/system/sluice-iceoryx.service \
    usr/share/man/man1/sluice-iceoryx.1.gz
fi
if [[ -e $folder/sluice-pipeline.list ]]; then
  has sluice-pipeline 'lib/systemd/system/sluice-pipeline@\.service' usr/lib/sysusers.d/sluice-pipeline.conf
  for program in capture detect recognize annotate photo-camera; do
    has sluice-pipeline "usr/bin/sluice-$program" "usr/share/man/man1/sluice-$program.1.gz"
  done
fi
if grep -h '^usr/bin/' "$folder"/{libsluice*,sluiced}.list | grep -vx usr/bin/sluiced; then
  fail "these programs are in a package where nobody looks for them"
fi
dpkg-deb --info sluiced_*.deb conffiles | grep -qx /etc/sluice/sluiced.toml || fail "the configuration is no conffile"
dpkg-deb --info sluiced_*.deb postinst | grep -q 'sluice.conf' || fail "nobody makes the user sluice"

# A consumer of the packages, unpacked.
for deb in libsluice*.deb; do
  dpkg-deb --extract "$deb" "$folder/root"
done
for way in cmake pkg-config; do
  "$source/tests/consumer/consume.sh" "$way" cmake "$folder/root/usr" "$source" c++ "$folder/$way"
done
