#!/usr/bin/env bash
# Completion in bash: verbs, options, topics and nodes.
#
#   completion_test.sh SLUICE SLUICED KNOWN_STREAM FOLDER_OF_COMPLETIONS
set -euo pipefail
sluice=$1 sluiced=$2 known=$3 folder=$4

fail() {
  echo "completion_test: $*" >&2
  exit 1
}

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
export SLUICE_SOCKET=$work/sluiced.sock
source "$folder/sluice.bash"
complete -p sluice | grep -q -- '-F _sluice sluice' || fail "nothing is registered"

# completed <word>…: the last one is completed.
completed() {
  COMP_WORDS=("$sluice" "$@")
  COMP_CWORD=$#
  _sluice
  printf '%s\n' "${COMPREPLY[@]}"
}
# offers <wanted> <word>…
offers() {
  grep -qxF -- "$1" < <(completed "${@:2}") || fail "'${*:2}' offers '$(completed "${@:2}" | tr '\n' ' ')' without '$1'"
}

offers top t
offers doctor ''
offers match m
[[ -z $(completed xyz) ]] || fail "an unknown verb is completed"
grep -q : < <(completed '') && fail "headings are offered as verbs"
offers --json top --j
offers --no-wait top --no
offers -n echo -
offers --version --v
offers drops top --sort d
offers keep state ''
if grep -qxF sluice < <(completed state ""); then fail "examples are offered as operations"; fi
offers --file state keep --f
offers open breaker o
offers handled pub x y --reliable h
offers high pub x y --priority h
[[ -z $(completed ls '') ]] || fail "topics without a broker"

"$sluiced" --socket "$SLUICE_SOCKET" --log-level warning &
"$known" publish camera/front/frames 5 >"$work/ready" &
for _ in {1..200}; do
  [[ -s $work/ready ]] && break
  sleep 0.05
done
[[ -s $work/ready ]] || fail "the publisher does not start"
offers camera/front/frames echo camera/
offers camera/front/frames info ''
offers camera/front/frames sub camera/
offers known-publisher sub x --source known
offers known-publisher info known
[[ -z $(completed echo nothing) ]] || fail "a topic that does not match is offered"
