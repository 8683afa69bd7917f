#!/bin/bash
# Builds and tests the tree in several kinds of build, one stage each, and ends with a line of its own:
# `N passed, N failed`. A stage that does not build counts as one failure.
#
# usage: scripts/test.sh [--long] [STAGE...]      STAGE: COMPILER-KIND, e.g. gcc-Release clang-Tsan; or mutants, valgrind
# Without names: the stages of `make test`. The stage `mutants` plants a few bugs and counts each that is found as a
# passed test (scripts/mutants.sh); `valgrind` runs the runtime's storm of submissions under Valgrind. --long: every compiler with every kind, the switch by
# ucontext, and CASCADE_TEST_LONG=1 for tests that know a longer form of themselves.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# The whole suite four times over: both compilers optimised as shipped, and each sanitizer with the compiler
# whose runtime knows most (clang's TSan follows fibers and atomics fences better than gcc 12's).
stages=(gcc-Release clang-Release gcc-Asan clang-Tsan mutants)
long=0
if [ "${1:-}" = --long ]; then
  shift
  long=1
  export CASCADE_TEST_LONG=1
  stages=({gcc,clang}-{Release,Debug,Asan,Tsan} gcc-Ucontext mutants valgrind)
fi
[ $# -eq 0 ] || stages=("$@")

jobs=${JOBS:-$(nproc)}
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=second_deadlock_stack=1
# clang's sanitizers name functions with llvm-symbolizer; without it, binutils' addr2line does.
if ! command -v llvm-symbolizer > /dev/null && addr2line=$(command -v addr2line); then
  TSAN_OPTIONS+=:external_symbolizer_path=$addr2line
fi
passed=0
failed=0
hash='' # what the simulation's seeds came to, in the first stage that ran it

# Sanitizers of this age lose their shadow memory to the address randomisation of newer kernels.
fixed_addresses=()
if setarch -R true 2> /dev/null; then
  fixed_addresses=(setarch -R)
fi

# Counts the tests of a ctest log into passed and failed; false if there is no summary in it.
count() {
  local summary
  summary=$(grep -E 'tests passed, [0-9]+ tests failed out of [0-9]+' "$1") || return 1
  local bad all
  bad=$(sed -E 's/.* ([0-9]+) tests failed out of ([0-9]+).*/\1/' <<< "$summary")
  all=$(sed -E 's/.* ([0-9]+) tests failed out of ([0-9]+).*/\2/' <<< "$summary")
  passed=$((passed + all - bad))
  failed=$((failed + bad))
  counted="$((all - bad)) passed, $bad failed"
}

# A seed of the simulation has to stand for the same run whichever compiler built it: compares what
# cascade_sim_test has left with the stage before.
compare_hash() {
  local stage=$1 file=$2/cascade_sim_test.hash told
  [ -e "$file" ] || return 0
  told=$(cat "$file")
  [ -n "$hash" ] || hash=$told
  [ "$told" != "$hash" ] || return 0
  failed=$((failed + 1))
  echo "$stage: the simulation is another one than in the stages before: $told, and not $hash"
}

run_stage() {
  local stage=$1 compiler=${1%%-*} kind=${1#*-} run=() extra=()
  local folder=build/${compiler}-${kind,,}
  [ "$stage" != gcc-Release ] || folder=build/release
  case $kind in
  Asan | Tsan) run=("${fixed_addresses[@]}") ;;
  Ucontext)
    kind=Release
    extra=(-DCASCADE_UCONTEXT=ON)
    ;;
  esac
  local began=$SECONDS built
  if ! scripts/build.sh "$folder" "$compiler" "$kind" "${extra[@]}" 2>&1; then
    failed=$((failed + 1))
    echo "$stage: does not build ($((SECONDS - began)) s)"
    return
  fi
  built=$((SECONDS - began))
  rm -f "$folder/cascade_sim_test.hash"
  "${run[@]}" ctest --test-dir "$folder" -j "$jobs" --output-on-failure > "$folder/test.log" 2>&1 < /dev/null
  local counted="no tests ran"
  count "$folder/test.log" || failed=$((failed + 1))
  case $counted in
  *" 0 failed") ;;
  *) grep -vE '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ .* Passed +[0-9])' "$folder/test.log" ;;
  esac
  echo "$stage: $counted (build $built s, tests $((SECONDS - began - built)) s)"
  compare_hash "$stage" "$folder"
}

# A planted bug that no simulation finds is a hole in the tests.
run_mutants() {
  local began=$SECONDS log=build/planted/test.log found missed
  mkdir -p build/planted
  scripts/mutants.sh --few > "$log" 2>&1 < /dev/null
  read -r found missed < <(sed -nE 's/^([0-9]+) found, ([0-9]+) missed.*/\1 \2/p' "$log" | tail -1) ||
    { found=0 missed=1; }
  [ "$missed" = 0 ] || cat "$log"
  passed=$((passed + found))
  failed=$((failed + missed))
  echo "mutants: $found planted bugs found, $missed missed ($((SECONDS - began)) s)"
}

# Valgrind has to be told of every stack: the build that runs under it knows its header.
run_valgrind() {
  local began=$SECONDS folder=build/gcc-valgrind
  if ! command -v valgrind > /dev/null; then
    failed=$((failed + 1))
    echo "valgrind: not installed (package valgrind)"
    return
  fi
  mkdir -p "$folder"
  if scripts/build.sh "$folder" gcc Release storm_test > "$folder/test.log" 2>&1 &&
    CASCADE_STORM=100000 valgrind --error-exitcode=9 --fair-sched=yes "$folder/storm_test" >> "$folder/test.log" 2>&1; then
    passed=$((passed + 1))
    echo "valgrind: 100,000 submissions, no error ($((SECONDS - began)) s)"
  else
    failed=$((failed + 1))
    tail -n 60 "$folder/test.log"
    echo "valgrind: failed ($((SECONDS - began)) s)"
  fi
}

for stage in "${stages[@]}"; do
  case $stage in
  mutants | valgrind) ;;
  gcc-Release | gcc-Debug | gcc-Asan | gcc-Tsan | gcc-Ucontext | clang-Release | clang-Debug | clang-Asan | clang-Tsan) ;;
  *)
    echo "test.sh: $stage: no such stage" >&2
    exit 2
    ;;
  esac
done
[ "$long" = 0 ] || echo "long tests: CASCADE_TEST_LONG=1"
for stage in "${stages[@]}"; do
  case $stage in
  mutants) run_mutants ;;
  valgrind) run_valgrind ;;
  *) run_stage "$stage" ;;
  esac
done
echo "all stages: $SECONDS s"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
