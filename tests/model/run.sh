#!/usr/bin/env bash
# Verifies the models of this folder: correct variants must hold, broken ones must be caught.
#
#   run.sh [--quick]      all variants, or the set that runs with every build
#   run.sh --list         what there is
#   run.sh --trail NAME   print a short counter-example of one variant (NAME as in the list)
#
# One line per variant of variants.txt and mode: name, expected, found, states. Exit 0 if every one
# came out as expected, 1 if not, 2 if it could not run. A correct variant counts only if the search
# was complete: no error, and enough depth and memory.
# MODEL_JOBS: how many at once (default: number of processors).

set -u -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# One line per run: name model expected defines...
runs() {
  local quick=$1 set name model arm x86 defines
  grep -v '^#' "$here/variants.txt" | while read -r set name model arm x86 defines; do
    if [[ $quick = no || $set = q* ]]; then
      echo "$name.arm $model $arm -DARM $defines"
    fi
    if [[ $quick = no || $set = qq ]]; then
      echo "$name.x86 $model $x86 -DX86 $defines"
    fi
  done
}

# verify DIR MODEL COMPILER PAN_FLAGS DEFINES...: leaves the output of pan in DIR/out.
verify() {
  local dir=$1 model=$2 compiler=$3 pan_flags=$4
  shift 4
  (
    cd "$dir" &&
      spin -a "$@" "$here/$model.pml" >spin.out 2>&1 &&
      nice $compiler -w -DSAFETY -DMEMLIM=2000 -o pan pan.c >>spin.out 2>&1
  ) || {
    cat "$dir/spin.out" >&2
    return 1
  }
  (cd "$dir" && nice timeout "$time_limit_s" ./pan -n $pan_flags >out 2>&1)
  return 0
}

# What pan found: holds, the failed assertion, or why it is not known.
verdict() {
  local out=$1
  if grep -q '^pan:1: ' "$out"; then
    sed -n 's/^pan:1: \(.*\) (at depth [0-9]*)$/\1/p' "$out" | head -1
  elif grep -qi 'max search depth too small\|out of memory\|not completed\|MEMLIM' "$out"; then
    echo "search not complete"
  elif grep -q 'errors: 0$' "$out"; then
    echo holds
  else
    echo "no result"
  fi
}

# Whether every -DNAME means something to the models: a misspelt rule would leave nothing out.
known() {
  local define
  for define in "$@"; do
    define=${define#-D}
    grep -qw "${define%%=*}" "$here"/*.pml || return 1
  done
}

# check NAME MODEL EXPECTED DEFINES...: one variant, one line; leaves $work/failed if it is not as
# expected.
check() {
  local name=$1 model=$2 expected=$3 dir found states ok compiler
  shift 3
  dir=$work/$name
  mkdir "$dir"
  compiler=tcc # a small search has ended before another compiler is through, and has room
  if [[ $quick = no ]]; then
    compiler="gcc -DCOLLAPSE"
    [[ $expected = holds ]] && compiler+=" -O1"
  fi
  if ! known "$@"; then
    found="unknown define"
  elif verify "$dir" "$model" "$compiler" "-m200000 -w22" "$@"; then
    found=$(verdict "$dir/out")
  else
    found="does not compile"
  fi
  states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$dir/out" 2>/dev/null)
  ok=ok
  case $expected in
    holds) [[ $found = holds ]] || ok=WRONG ;;
    *) [[ $found =~ ^assertion\ violated.*($expected) ]] || ok=WRONG ;;
  esac
  [[ $ok = ok ]] || touch "$work/failed"
  printf '%-5s %-34s %-22s %-50s %s\n' "$ok" "$name" "$expected" "$found" "${states:-?}"
  rm -rf "$dir"
}

# Prints every access of a counter-example that is as short as a minute's search makes it.
trail() {
  local name=$1 model expected defines
  read -r _ model expected defines < <(runs no | grep "^$name ") || {
    echo "no variant $name; run.sh --list names them" >&2
    return 2
  }
  mkdir "$work/trail"
  # shellcheck disable=SC2086
  verify "$work/trail" "$model" "gcc -O1 -DCOLLAPSE" "-m20000" $defines -DTRAIL || return 2
  cd "$work/trail" || return 2
  if [[ ! -e $model.pml.trail ]]; then
    echo "$name: $(verdict out)"
    return 0
  fi
  # Again, for a shorter one; the first trail remains if that takes too long.
  gcc -w -O1 -DSAFETY -DREACH -DCOLLAPSE -DMEMLIM=2000 -o pan pan.c
  nice timeout 60 ./pan -n -i -m20000 >out 2>&1
  # shellcheck disable=SC2086
  spin -t -T -k "$model.pml.trail" $defines -DTRAIL "$here/$model.pml" 2>/dev/null |
    grep -v '^[[:space:]]*\(sb\[\|sb_\)'
  return 0
}

quick=no
action=check
trail_of=
time_limit_s=600
while (($#)); do
  case $1 in
    --quick) quick=yes ;;
    --list) action=list ;;
    --trail)
      action=trail
      trail_of=${2:?--trail needs the name of a variant}
      shift
      ;;
    *)
      sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
  shift
done

if [[ $action = list ]]; then
  runs "$quick" | while read -r name model expected defines; do
    printf '%-34s %-9s %-22s %s\n' "$name" "$model" "$expected" "$defines"
  done
  exit 0
fi

for tool in spin gcc tcc; do
  command -v "$tool" >/dev/null || {
    echo "run.sh needs $tool (Debian packages spin, gcc, tcc)" >&2
    exit 2
  }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [[ $action = trail ]]; then
  trail "$trail_of"
  exit
fi

jobs_at_once=${MODEL_JOBS:-$(nproc)}
started=$SECONDS
printf '%-5s %-34s %-22s %-50s %s\n' "" name expected found states
running=0
count=0
while read -r line; do
  if ((running >= jobs_at_once)); then
    wait -n
    ((running--))
  fi
  # shellcheck disable=SC2086
  check $line &
  ((running++))
  ((count++))
done < <(runs "$quick")
wait

if [[ -e $work/failed ]]; then
  echo "$count variants, some are not as expected; $((SECONDS - started)) s"
  exit 1
fi
echo "$count variants, all as expected; $((SECONDS - started)) s"
