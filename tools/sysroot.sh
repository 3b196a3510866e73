#!/usr/bin/env bash
# Makes build/sysroot/<architecture>: headers and libraries of the target, unpacked from Debian packages, for the
# cross presets. No foreign code runs, and nothing is installed on this machine.
#
#   tools/sysroot.sh [--core] aarch64|armhf      needs what `tools/setup.sh cross` installs
#
# --core   without OpenCV and GStreamer, in build/sysroot/<architecture>-core
#
# The packages are those of tools/setup.sh, unpacked by tools/unpack.sh. It is made beside its place and moved there when
# complete. The second time it only compares the list of packages; remove the folder for newer ones. SLUICE_SYSROOTS: another folder than build/sysroot.
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

partial=$(mktemp -d "$sysroot.partial.XXXXXX")
root=$partial/root
trap 'rm -rf "$partial"' EXIT
mapfile -t packages <<<"$wanted"
tools/unpack.sh "$debian" "$root" "${packages[@]}" 9>&-

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
[[ -s $root/shlibs ]] || fail "the packages say nothing about their libraries"
# An emulated program sees these of the machine it runs on.
rm -rf "$root"/{dev,proc,run,sys,tmp,var}

echo "$wanted" >"$root/packages"
rm -rf "$sysroot"
mv -T "$root" "$sysroot"
