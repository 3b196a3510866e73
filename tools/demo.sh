#!/usr/bin/env bash
# Runs the main job on this machine, without a camera: the broker; two cameras made of photographs, one of them served
# over RTSP and captured like an IP camera; three detection processes, two of them sharing a camera; recognition, enrolled
# on another photograph of the same people; names drawn into the picture. Shows the monitor meanwhile, and ends with a
# summary. Does its own set-up on Debian 12.
#
#   tools/demo.sh [--json] [--seconds N] [PIPELINE.toml]
#
# --json      the last line is the summary as one JSON object
# --seconds   how long it runs; 30
# The annotated picture and the trace are written to build/demo/out/. Exit code 0 when people were recognized, nothing
# failed, and both files are there.
set -euo pipefail
cd "$(dirname "$0")/.."

json=()
seconds=30
pipeline=examples/pipelines/two_cameras.toml
while [[ $# -gt 0 ]]; do
  case $1 in
    --json) json=(--json) ;;
    --seconds)
      seconds=${2-}
      shift
      ;;
    -h | --help)
      sed -n '2,/^set/ { /^#/ s/^# \{0,1\}//p }' "$0"
      exit 0
      ;;
    -*)
      echo "demo: no option '$1'; see tools/demo.sh --help" >&2
      exit 2
      ;;
    *) pipeline=$1 ;;
  esac
  shift
done
[[ $seconds =~ ^[1-9][0-9]{0,4}$ ]] || {
  echo "demo: --seconds needs a whole number from 1 to 99999, not '$seconds'" >&2
  exit 2
}

# The standard output is the demo's alone.
tools/setup.sh demo >&2
build=build/demo
echo "demo: building (a few minutes, the first time)" >&2
if ! log=$(cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DSLUICE_BUILD_CAPTURE=ON \
  -DSLUICE_BUILD_VISION=ON 2>&1 && cmake --build $build --parallel "$(tools/jobs.sh)" 2>&1); then
  echo "$log" >&2
  exit 1
fi
sluice=$build/bin/sluice
out=$build/out
rm -rf $out
mkdir -p $out

# A broker of its own, so that it disturbs nobody's.
folder=$(mktemp -d)
export SLUICE_SOCKET=$folder/sluiced.sock
run=
trap '[[ -z $run ]] || kill $run 2>/dev/null || true; wait; rm -rf "$folder"' EXIT

# It runs until it is told, so that the picture of the monitor and the trace fall into its time.
$sluice run "${json[@]}" --summary --output $out "$pipeline" >$out/summary.txt 2>$out/run.log &
run=$!
end=$((SECONDS + seconds))
while [[ ! -S $SLUICE_SOCKET ]] && kill -0 $run 2>/dev/null; do sleep 0.1; done

show() {
  if [[ ${#json[@]} -gt 0 ]]; then
    "$@" >&2
  else
    "$@"
  fi
}
if [[ -t 0 && -t 1 && ${#json[@]} -eq 0 ]]; then
  $sluice top --count "$seconds" || true # q leaves it early
else
  while ((SECONDS + 5 < end)) && kill -0 $run 2>/dev/null; do
    sleep 4
    show $sluice top --batch --count 1 || true
  done
fi
while ((SECONDS < end)) && kill -0 $run 2>/dev/null; do sleep 0.2; done
traced=0
show $sluice trace --seconds 1 --slowest 1 --chrome $out/trace.json || traced=$?
status=0
kill -TERM $run 2>/dev/null || true
wait $run || status=$?
run=

if [[ $status -ne 0 ]]; then
  tail -n 40 $out/run.log >&2
  echo "demo: the pipeline failed, exit code $status; all that its processes said is in $out/run.log" >&2
  exit 1
fi
show echo
show echo "annotated picture: $out/recognized.jpg    trace (load it in Perfetto): $out/trace.json"
show echo "what the processes said: $out/run.log"
show echo
cat $out/summary.txt
[[ $traced -eq 0 && -s $out/trace.json ]] || {
  echo "demo: no trace was written" >&2
  exit 1
}
[[ $pipeline != examples/pipelines/two_cameras.toml ]] || {
  [[ -s $out/recognized.jpg ]] || {
    echo "demo: nobody was recognized: there is no $out/recognized.jpg" >&2
    exit 1
  }
  grep -q 'Albert Einstein' $out/summary.txt || {
    echo "demo: Albert Einstein was not recognized in the stream" >&2
    exit 1
  }
}
