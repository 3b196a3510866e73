# Sourced by tools/cross-build.sh and tools/cross-test.sh: takes `[--core] [aarch64] [armhf]` from the front of their
# arguments and leaves the others. Sets `core` (the option, or nothing) and `architectures` (default: both).
# shellcheck shell=bash disable=SC2034 # used by those who source it
core=()
architectures=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --core) core=(--core) ;;
    aarch64 | armhf) architectures+=("$1") ;;
    -h | --help)
      sed -n '2,/^set/ { /^#/ s/^# \{0,1\}//p }' "$0"
      exit 0
      ;;
    *) break ;;
  esac
  shift
done
[[ ${#architectures[@]} -gt 0 ]] || architectures=(aarch64 armhf)
