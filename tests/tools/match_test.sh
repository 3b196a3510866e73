#!/usr/bin/env bash
# sluice match: exit codes and messages for one pair; a line for a line through a pipe, each at once.
set -euo pipefail
sluice=$1

fail() {
  echo "match_test: $*" >&2
  exit 1
}

# expect <exit code> <arguments of sluice match>…
expect() {
  local code=0
  message=$("$sluice" match "${@:2}" 2>&1 >/dev/null) || code=$?
  [[ $code -eq $1 ]] || fail "'${*:2}' gives $code instead of $1: $message"
  if [[ $code -eq 2 ]]; then
    [[ -n $message ]] || fail "'${*:2}' is refused without a word"
  else
    [[ -z $message ]] || fail "'${*:2}' says: $message"
  fi
}

expect 0 'a/#' a
expect 0 'camera/+/frames' camera/front/frames
expect 0 '+/+' /
expect 0 -- -a -a
expect 1 '#' '$sys/x'
expect 1 a b
expect 2 'a/#/b' a
[[ $message == *"'a/#/b'"* ]] || fail "the message does not name the filter: $message"
expect 2 a 'a/+'
expect 2 '' a
expect 2 a ''
expect 2 a
expect 2
expect 2 --stdin a b
expect 2 a $'\xff'

want=$'yes\nno\ninvalid\ninvalid\ninvalid\ninvalid\nyes'
got=$(printf 'a/#\ta/b\n#\t$a\na\n\na\tb\tc\n#\t\n+\ta' | "$sluice" match --stdin) || fail "--stdin failed"
[[ $got == "$want" ]] || fail "--stdin answers: $got"
[[ -z $("$sluice" match --stdin </dev/null) ]] || fail "nothing asked, something answered"

[[ $("$sluice" match --json '+/b' a/b) == '{"filter":"+/b","matches":true,"topic":"a/b"}' ]] || fail "--json, yes"
got=$("$sluice" match --json a b) && fail "--json changes the exit code"
[[ $got == '{"filter":"a","matches":false,"topic":"b"}' ]] || fail "--json, no: $got"
expect 2 --json 'a/#/b' a
got=$(printf 'a/#\ta"b\n#\t$a\nnothing\na/#/b\ta\n+\ta\xff\n' | "$sluice" match --stdin --json |
  python3 -c 'import json, sys
for line in sys.stdin:
    answer = json.loads(line)
    print(answer["matches"], answer["topic"], "error" in answer)')
[[ $got == $'False a"b False\nFalse $a False\nNone  True\nNone a True\nNone a\xef\xbf\xbd True' ]] ||
  fail "--stdin --json answers: $got"

# Longer than a chunk, and longer than any valid line; what follows is answered all the same.
got=$({
  head -c 300000 /dev/zero | tr '\0' a
  printf '\n%s\t%s\n' "$(printf 'a%.0s' {1..40000})" "$(printf 'a%.0s' {1..40000})"
} | "$sluice" match --stdin)
[[ $got == $'invalid\nyes' ]] || fail "long lines are answered: $got"

# Each answer comes before the next question.
coproc "$sluice" match --stdin
pid=$COPROC_PID
for pair in $'+/b\ta/b yes' $'+\ta/b no' $'+a\ta invalid'; do
  printf '%s\n' "${pair% *}" >&"${COPROC[1]}"
  read -r -t 20 got <&"${COPROC[0]}" || fail "no answer to '$pair'"
  [[ $got == "${pair##* }" ]] || fail "the answer to '$pair' is '$got'"
done
eval "exec ${COPROC[1]}>&-"
wait "$pid" || fail "the end of the questions is an error"
