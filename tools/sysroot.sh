#!/usr/bin/env bash
# Makes build/sysroot/<architecture>: headers and libraries of the target, unpacked from Debian packages, for the
# cross presets. No foreign code runs, and nothing is installed on this machine.
#
#   tools/sysroot.sh [--core] aarch64|armhf      needs what `tools/setup.sh cross` installs
#
# --core   without OpenCV and GStreamer, in build/sysroot/<architecture>-core
#
# Mirror, suites and key come from this machine's own apt configuration, the packages from tools/setup.sh. It is made
# beside its place and moved there when complete. The second time it only compares the list of packages; remove the
# folder for newer ones. SLUICE_SYSROOTS: another folder than build/sysroot.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "sysroot: $*" >&2
  exit 1
}

purposes=(core capture vision)
variant=
if [[ ${1-} == --core ]]; then
  purposes=(core)
  variant=-core
  shift
fi
case ${1-} in
  aarch64) debian=arm64 ;;
  armhf) debian=armhf ;;
  -h | --help)
    sed -n '2,/^set/ { /^#/ s/^# \{0,1\}//p }' "$0"
    exit 0
    ;;
  *) fail "name an architecture, aarch64 or armhf, not '${1-}'" ;;
esac
sysroots=${SLUICE_SYSROOTS:-$PWD/build/sysroot}
sysroot=$sysroots/$1$variant

# Of what a purpose needs: development packages (they bring the libraries) and what is loaded at run time. The
# programs, compilers and such, are this machine's.
wanted=$(tools/setup.sh --packages "${purposes[@]}" | grep -E -- '-dev$|^gstreamer|-data$')
wanted=$(printf '%s\n' "$wanted" libc6-dev libgtest-dev | sort)

mkdir -p "$sysroots"
exec 9>"$sysroot.lock"
flock 9 # two builds may want the same one
if [[ -f $sysroot/packages ]] && [[ $wanted == "$(<"$sysroot/packages")" ]]; then
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

partial=$(mktemp -d "$sysroot.partial.XXXXXX")
root=$partial/root
log=$sysroot.log
trap 'rm -rf "$partial"' EXIT

# unpack <lines of sources.list>
unpack() {
  rm -rf "$root"
  mmdebstrap --variant=extract --architectures="$debian" --include="$(paste -sd, <<<"$wanted")" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --extract-hook='for deb in "$1"/var/cache/apt/archives/*.deb; do dpkg-deb --info "$deb" shlibs 2>/dev/null || :; done >"$1/shlibs"' \
    --aptopt='Acquire::Retries "3"' "${options[@]}" "$release" "$root" - <<<"$1" >>"$log" 2>&1 9>&-
}

echo "sysroot: unpacking $debian packages into $sysroot: $(tr '\n' ' ' <<<"$wanted")"
: >"$log"
if ! unpack "$sources"; then
  # Mirrors do not always have the updates of an architecture that is not theirs.
  echo "sysroot: that failed (see $log); trying $release alone, without updates"
  unpack "$(grep " $release main" <<<"$sources")" || {
    cat "$log" >&2
    fail "mmdebstrap failed"
  }
fi

# Links work from any place, and those that the alternatives system would have made are there.
find "$root" -type l -lname '/*' -printf '%p\t%l\n' | while IFS=$'\t' read -r link target; do
  [[ ! -e $root$target ]] || ln -sfnr "$root$target" "$link"
done
for library in blas/libblas.so.3 lapack/liblapack.so.3; do
  for file in "$root"/usr/lib/*/"$library"; do
    [[ ! -e $file ]] || ln -sfnr "$file" "${file%/*/*}/${library#*/}"
  done
done
# `shlibs` says from which package each library is, for tools/package.sh.
[[ -s $root/shlibs ]] || fail "the packages say nothing about their libraries; see $log"
# An emulated program sees these of the machine it runs on.
rm -rf "$root"/{dev,proc,run,sys,tmp,var}

echo "$wanted" >"$root/packages"
rm -rf "$sysroot"
mv -T "$root" "$sysroot"
