#!/usr/bin/env bash
# sluice demo: a good run is good and says so in its last line; a killed consumer makes it fail; a wrong
# option is named.
set -euo pipefail
sluice=$1

fail() {
  echo "demo_test: $*" >&2
  exit 1
}

last=$("$sluice" demo --seconds 2 --width 640 --height 480 --json | tail -n 1)
python3 - "$last" <<'PYTHON' || fail "the summary is wrong: $last"
import json, sys
summary = json.loads(sys.argv[1])
assert summary["ok"] is True
published = summary["producer"]["published"]
assert published == 60, published
for name, c in summary["consumers"].items():
    assert c["taken"] + sum(c["lost"].values()) + c["waiting"] == published, name
    assert c["bad"] == 0, name
assert summary["consumers"]["recorder"]["taken"] == published
PYTHON

"$sluice" demo --seconds 3 --width 640 --height 480 --json >demo_test.out 2>&1 &
demo=$!
sleep 1
children=($(pgrep -P "$demo"))
[[ ${#children[@]} -eq 4 ]] || fail "expected 4 child processes, found ${#children[@]}"
kill -KILL "${children[-1]}"
if wait "$demo"; then
  fail "the demo did not notice that a consumer was killed"
fi
grep -q '"ok":false' demo_test.out || fail "no summary that says so: $(cat demo_test.out)"

if "$sluice" demo --seconds never 2>demo_test.err; then
  fail "a wrong number was accepted"
fi
grep -q -- --seconds demo_test.err || fail "the error does not name the option: $(cat demo_test.err)"
rm -f demo_test.out demo_test.err
