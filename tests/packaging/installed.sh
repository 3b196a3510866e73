#!/usr/bin/env bash
# The inner half of install_test.sh: what happens to the packages in the chroot.
set -euo pipefail
cd /packages
step() { echo "== $*"; }
fail() {
  echo "install_test: $*" >&2
  exit 1
}
apt() { apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >log 2>&1 || { cat log >&2 && fail "apt-get $*"; }; }
as() { setpriv --reuid "$1" --regid "$2" --clear-groups "${@:3}"; }

step install
apt update
while read -r documented; do
  debs=()
  for deb in $(eval "echo ./first/${documented##*/}"); do
    [[ ! -e $deb ]] || debs+=("$deb") # there may be no sluice-pipeline
  done
  [[ ${#debs[@]} -ge 3 ]] || fail "$documented names ${debs[*]}"
  apt install --simulate "${debs[@]}"
done <documented
apt install ./first/*.deb
version=$(sluice --version)
[[ $(sluiced --version) == "$version" && $(sluice-recorder --version) == "$version" ]] || fail "versions differ"
sluiced --check /etc/sluice/sluiced.toml
sluice-recorder --check /etc/sluice/sluice-recorder.toml
[[ $(id -gn sluice) == sluice ]] || fail "there is no user sluice with its group"
for deb in first/*.deb; do
  for path in $(dpkg-deb --contents "$deb" | awk '$1 ~ /^-..x/ { print substr($6, 2) }' | grep ^/usr/bin/); do
    "$path" --version >/dev/null || fail "$path does not run"
  done
done

step a broker by hand, and who may use it
groupadd cameras && useradd --gid sluice camera && useradd --gid cameras guest
mkdir /run/sluice && chown sluice:sluice /run/sluice
setpriv --reuid sluice --regid sluice --clear-groups sluiced --socket /run/sluice/sluiced.sock --log-level error &
broker=$!
for _ in {1..100}; do
  [[ -S /run/sluice/sluiced.sock ]] && break
  sleep 0.1
done
as camera sluice sluice ls --nodes --wait 5 >nodes || fail "a member of the group may not use the broker"
if as guest cameras sluice ls --nodes --wait 1 >nodes 2>&1; then fail "everybody may use the broker"; fi

step a consumer
cmake -S project -B consumer -G Ninja >/dev/null && cmake --build consumer >/dev/null && consumer/consumer
# shellcheck disable=SC2046 # flags are words
g++ -std=c++20 project/main.cpp $(pkg-config --cflags --libs sluice-pipeline) -o consumer/other && consumer/other

step upgrade
echo '# kept' >>/etc/sluice/sluiced.toml
mkdir -p /var/lib/sluice && echo old >/var/lib/sluice/recorder.db
apt install ./second/*.deb
grep -q '# kept' /etc/sluice/sluiced.toml || fail "what the administrator wrote is gone"
[[ $(dpkg-query --show --showformat='${Version}' sluiced) == 0.1.0+next ]] || fail "the upgrade did nothing"
as camera sluice sluice ls --nodes --wait 5 >nodes || fail "the broker that was running is gone"
kill "$broker" && wait "$broker" || fail "the broker ends with $?"

step remove
mapfile -t packages < <(for deb in second/*.deb; do dpkg-deb --field "$deb" Package; done)
apt remove "${packages[@]}"
hash -r
if command -v sluice sluiced sluice-recorder; then fail "programs are left"; fi
[[ -e /etc/sluice/sluiced.toml && -e /var/lib/sluice/recorder.db ]] || fail "removing took what only purging takes"

step purge
dpkg --purge "${packages[@]}" >log 2>&1 || fail "dpkg --purge: $(cat log)" # apt forgets what is in no archive
rm -rf /run/sluice
left=$(find / -xdev \( -path /packages -o -path /proc \) -prune -o -iname '*sluice*' -print)
[[ -z $left ]] || fail "left behind: $left"
