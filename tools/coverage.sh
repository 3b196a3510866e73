#!/usr/bin/env bash
# What the unit tests pass of the state machines of bus and broker (breaker, retries, handling and dead letters,
# duplicates, rate limit, session): lines and branches. Installs what it needs, builds in build/coverage, runs the
# tests, prints a table and what was not passed. The exit code is 0 only if that is nothing, less what
# tools/coverage.py names and says why.
#
#   tools/coverage.sh
#
# SLUICE_JOBS: compilers at the same time; the default is tools/jobs.sh's.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1-} in
  -h | --help)
    sed -n '2,/^set/ { /^#/ s/^# \{0,1\}//p }' "$0"
    exit 0
    ;;
esac

tools/setup.sh coverage >&2
cmake --preset coverage >/dev/null
cmake --build --preset coverage --parallel "$(tools/jobs.sh)" >&2

find build/coverage -name '*.gcda' -delete
for test in bus_test sluiced_broker_test; do
  build/coverage/bin/$test --gtest_brief=1 >&2
done
exec python3 tools/coverage.py build/coverage
