# What the jobs of all images use to say what they have seen; for any POSIX shell. Lines on the console,
#
#   @NAME {…JSON…}
#
# are read by verdict.py. The last is @end with the job's exit code: without it the image has failed.

# say NAME: a line of what comes in, which is JSON.
say() {
  printf '@%s %s\n' "$1" "$(tr -d '\n')"
}

seconds() {
  cut -d ' ' -f 1 /proc/uptime
}

# until_ok SECONDS COMMAND…: again and again, until it succeeds.
until_ok() {
  end=$(($(cut -d . -f 1 /proc/uptime) + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(cut -d . -f 1 /proc/uptime)" -lt "$end" ] || return 1
    sleep 0.2
  done
}

# memory NAME PID: how much of the memory is its own (anonymous), files (programs and libraries), and shared (memfd; where
# programs lie in an initramfs, these too).
memory() {
  awk -v name="$1" '
    /^VmRSS:/ { rss = $2 } /^RssAnon:/ { anon = $2 } /^RssFile:/ { file = $2 } /^RssShmem:/ { shared = $2 }
    /^Pss:/ { pss = $2 } /^Private_/ { private += $2 }
    END {
      printf "{\"process\":\"%s\",\"rss_kb\":%d,\"own_kb\":%d,\"files_kb\":%d,\"shared_kb\":%d,\"pss_kb\":%d,\"private_kb\":%d}\n",
        name, rss, anon, file, shared, pss, private
    }' "/proc/$2/status" "/proc/$2/smaps_rollup" | say memory
}

# done_with STATUS: the last line.
done_with() {
  echo "{\"status\":$1,\"seconds\":$(seconds)}" | say end
}
