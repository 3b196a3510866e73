#!/usr/bin/env bash
# Runs a test of a sanitizer build: tests/sanitized.sh <program> [arguments]
#
# The first report ends the test. What stands in the environment already comes last and so wins.
set -eu
export ASAN_OPTIONS="halt_on_error=1:detect_stack_use_after_return=1:${ASAN_OPTIONS-}"
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:${UBSAN_OPTIONS-}"
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:${TSAN_OPTIONS-}"

# GCC 12's ThreadSanitizer finds no room for its shadow memory where the kernel shuffles addresses by more
# than 28 bits (vm.mmap_rnd_bits). Some containers forbid switching that off: then try without.
if setarch --addr-no-randomize true 2>/dev/null; then
  exec setarch --addr-no-randomize "$@"
fi
exec "$@"
