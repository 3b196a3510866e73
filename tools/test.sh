#!/usr/bin/env bash
# Builds and runs the tests; installs first what they need (tools/setup.sh).
#
#   tools/test.sh [--long] [--release] [--asan] [--tsan] [--fuzz] [--cross] [arguments for ctest]
#
# Without a choice all builds are made: release with every suite, the suites that the sanitizers are for, with
# the fuzzers in the asan build (`--fuzz` makes them alone), and the library for 64-bit Arm, to see that it and the
# release build make the same of the same memory (tools/cross-test.sh has all tests of both Arm architectures).
# `--tsan`, say, makes just that one. `--long` adds the suites labelled long. Where the mirror has no packages for
# Arm, that build is left out, with a sentence, unless it is asked for.
# All run in one ctest, whose closing lines are the last that is printed; the exit code is ctest's. What the tests that fail
# print comes again right before these, since it is far up by then.
#
#   tools/test.sh --release -R 'unit.*Pool'
#
# SLUICE_JOBS: compilers and tests at the same time; the default is tools/jobs.sh's, and one test more, since most of them
# wait.
set -euo pipefail
cd "$(dirname "$0")/.."

builds=()
cross=
ctest_arguments=(-LE '^long$')
while [[ $# -gt 0 ]]; do
  case $1 in
    --long) ctest_arguments=() ;;
    --release | --asan | --tsan | --fuzz) builds+=("${1#--}") ;;
    --cross) cross=yes ;;
    -h | --help)
      sed -n '2,/^set/ { /^#/ s/^# \{0,1\}//p }' "$0"
      exit 0
      ;;
    *) break ;;
  esac
  shift
done
if [[ ${#builds[@]} -eq 0 && -z $cross ]]; then
  builds=(release asan tsan)
  cross=where_possible
fi
if [[ -n $cross ]]; then # after the release build, whose broker it uses
  [[ " ${builds[*]} " == *" release "* ]] || builds=(release "${builds[@]}")
  builds+=(aarch64-mixed)
fi

purposes=(test)
[[ " ${builds[*]} " != *" release "* ]] || purposes+=(model package)
[[ ! " ${builds[*]} " =~ " "(asan|fuzz)" " ]] || purposes+=(fuzz)
[[ -z $cross ]] || purposes+=(cross)
tools/setup.sh "${purposes[@]}"
if [[ -n $cross ]] && ! tools/sysroot.sh --core aarch64; then
  [[ $cross == where_possible ]] || exit 1
  echo "test: without the libraries of 64-bit Arm (see above) the build for it is left out" >&2
  unset 'builds[-1]'
fi

jobs=$(tools/jobs.sh)
for build in "${builds[@]}"; do
  echo "== build $build"
  cmake --preset "$build" >/dev/null
  cmake --build --preset "$build" --parallel "$jobs"
done

# One ctest over all of them: a folder whose only content is the list of the build folders.
mkdir -p build/all
printf 'subdirs("%s")\n' "${builds[@]/#/$PWD/build/}" >build/all/CTestTestfile.cmake
echo "== test ${builds[*]}"
# Keeps what the tests that fail print, and prints it again before the closing lines.
again='
  / Test +#[0-9]+: / || /^ +Start +[0-9]+: / { failing = 0 }
  / Test +#[0-9]+: .*\*\*\*/ && !/\*\*\*Skipped/ { failing = 1 }
  failing { kept = kept $0 "\n" }
  /% tests passed, / { printf "%s", kept }
  { print; fflush() }'
ctest --test-dir build/all --no-tests=error --output-on-failure --parallel "${SLUICE_JOBS:-$((jobs + 1))}" \
  "${ctest_arguments[@]}" "$@" | awk "$again"
