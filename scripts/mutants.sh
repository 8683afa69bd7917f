#!/bin/bash
# Do the nets catch fish? Plants the bugs of engine/base/planted.h, one at a time, in a build of their own, and says
# for each which test found it and after how many seeds. First comes the simulation; what it does not find in
# SEEDS seeds the other tests must. Without a bug nothing may be found.
#
# usage: scripts/mutants.sh [--few | BUG...]      BUG: M4 N1 ...; without: all
#   SEEDS=500    of the simulation, for each bug
#   LIMIT=300    seconds that one test may take with a bug; longer counts as a hang, and so as found
#   --few        three bugs that the commit chooses, by the simulation alone: a part of `make test`
# The last line is `N found, N missed`. The logs stay in build/planted/mutants. Exit status 1: one was missed, or
# something was found where nothing is.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

folder=build/planted
logs=$folder/mutants
seeds=${SEEDS:-500}
limit=${LIMIT:-300}
jobs=${JOBS:-$(nproc)}
sim=$folder/cascade-sim
# Quick ones first. Each looks at one layer, and some at what the simulation does not: damage at rest.
tests=(transfer_test wal_test simulated_close_test manifest_test compaction_test tree_test database_test damage_test
  simulated_wal_test durability_test model_test kill_test)
few=0
if [ "${1:-}" = --few ]; then
  shift
  few=1
fi

targets=(cascade-sim)
[ $few = 1 ] || targets+=("${tests[@]}")
scripts/build.sh "$folder" gcc Release -DCASCADE_PLANTED=ON "${targets[@]}" || exit 1
mkdir -p "$logs"
mapfile -t all < <(CASCADE_PLANT=list "$sim" | cut -f1)
bugs=("$@")
[ ${#bugs[@]} -gt 0 ] || bugs=("${all[@]}")
if [ $few = 1 ]; then
  # Of those that the simulation finds soon; with the commits all of them have their turn.
  soon=()
  for bug in "${all[@]}"; do
    case $bug in
    M10 | M11 | N2 | N4 | N6 | N7 | N8 | N9 | N11) ;;
    *) soon+=("$bug") ;;
    esac
  done
  turn=$((0x$(git rev-parse --short=7 HEAD 2> /dev/null || echo 0)))
  bugs=()
  for i in 0 1 2; do
    bugs+=("${soon[(turn + i * 7) % ${#soon[@]}]}")
  done
fi

what_is() {
  CASCADE_PLANT=list "$sim" | sed -n "s/^$1\t//p"
}

# Runs a test with the bug planted; true: it failed. What it said is in the log.
finds() {
  local bug=$1 log=$2 status
  shift 2
  (cd "$folder" && CASCADE_PLANT=$bug exec timeout -k 5 "$limit" "$@") > "$log" 2>&1 < /dev/null
  status=$?
  [ $status -lt 124 ] || [ $status -ge 128 ] || echo "no end after $limit s" >> "$log"
  [ $status != 0 ]
}

by_simulation() {
  finds "$1" "$2" ./cascade-sim --quiet --from "${FROM:-1}" --seeds "$seeds" || return 1
  seed=$(sed -nE 's/^seed ([0-9]+) failed.*/\1/p' "$2" | head -1)
}

# One row of the table.
try() {
  local bug=$1 log=$logs/$1.log began=$SECONDS seed='' by='' after='' met
  if by_simulation "$bug" "$log"; then
    by=simulation
    after="$((${seed:-$seeds} - ${FROM:-1} + 1)) seeds"
  elif [ $few = 0 ]; then
    met=$(sed -nE 's/^planted: .* met ([0-9]+) times/\1/p' "$log" | tail -1)
    for test in "${tests[@]}"; do
      if finds "$bug" "$logs/$bug-$test.log" "./$test"; then
        by=$test
        after="not in $seeds seeds, met ${met:-?} times"
        break
      fi
    done
  fi
  printf '%-4s %-72s %-16s %-34s %4d s\n' "$bug" "$(what_is "$bug")" "${by:-MISSED}" "${after:-$seeds seeds}" \
    $((SECONDS - began))
  [ -n "$by" ]
}

failed=0
if [ $few = 0 ]; then
  for net in cascade-sim "${tests[@]}"; do
    arguments=()
    [ "$net" != cascade-sim ] || arguments=(--quiet --seeds "$seeds")
    if finds '' "$logs/none-$net.log" "./$net" "${arguments[@]}"; then
      echo "$net fails without a planted bug: $logs/none-$net.log"
      failed=1
    fi
  done
  [ $failed = 1 ] || echo "no planted bug: $seeds seeds and ${#tests[@]} tests find nothing ($SECONDS s)"
fi

# Tries as many at a time as there are processors; the rows come in the order of the list.
rows=$logs/rows
rm -rf "$rows"
mkdir -p "$rows"
running=0
for bug in "${bugs[@]}"; do
  { try "$bug" > "$rows/$bug" || touch "$rows/$bug.missed"; } &
  running=$((running + 1))
  if [ $running -ge "$jobs" ]; then
    wait -n
    running=$((running - 1))
  fi
done
wait
for bug in "${bugs[@]}"; do
  cat "$rows/$bug"
done
missed=$(find "$rows" -name '*.missed' | wc -l)
echo "$((${#bugs[@]} - missed)) found, $missed missed ($SECONDS s)"
[ "$missed" = 0 ] && [ $failed = 0 ]
