#!/bin/bash
# Do the nets catch fish? Plants the bugs of engine/base/planted.h, one at a time, in a build of their own, and says
# for each which test found it and after how many seeds. First comes the simulation; what it does not find in
# SEEDS seeds the other tests must. A seed or test counts only if it passes without the bug.
#
# usage: scripts/mutants.sh [--few | BUG...]      BUG: M4 N1 ..., or none; without: none and all
#   SEEDS=500    of the simulation, for each bug
#   LIMIT=300    seconds that one test may take with a bug; longer counts as a hang, and so as found
#   --few        three bugs that the commit chooses, by the simulation alone: a part of `make test`
# Two of them the rest of the engine hides from the simulation, and tests of the log alone find them: N6, because an open
# renews the manifest and syncs the directory that the log lies in as well; N11, which takes a caller of wal_sync, and no
# part of the engine is one yet.
# The last line is `N found, N missed`, and a find where nothing is planted counts as a miss. The logs stay in
# build/planted/mutants. Exit status 1: there was a miss.
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
  simulated_wal_test durability_test model_test linearizable_test small_scope_test)
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
[ ${#bugs[@]} -gt 0 ] || bugs=(none "${all[@]}")
for bug in "${bugs[@]}"; do
  case " none ${all[*]} " in
  *" $bug "*) ;;
  *)
    echo "mutants.sh: $bug: no such bug" >&2
    exit 2
    ;;
  esac
done
if [ $few = 1 ]; then
  # Of those that the simulation finds soon; with the commits all of them have their turn.
  soon=()
  for bug in "${all[@]}"; do
    case $bug in
    N2 | N6 | N11 | N16) ;;
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

# Runs a program with the bug planted; true: it failed. What it said is in the log.
finds() {
  local bug=$1 log=$2 status
  shift 2
  (cd "$folder" && CASCADE_PLANT=$bug exec "$@") > "$log" 2>&1 < /dev/null
  status=$?
  [ $status != 124 ] || echo "no end after $limit s" >> "$log"
  [ $status != 0 ]
}

# The first seed that fails with the bug and not without: one that fails anyway has found something else. That is
# proof only while the simulation finds nothing without a bug (the row `none`): a planted bug also moves what comes
# after it, which may bring out a real one. A single find after many seeds is to be read in its log.
by_simulation() {
  local bug=$1 log=$2 from=1
  while finds "$bug" "$log" ./cascade-sim --quiet --from "$from" --seeds $((seeds - from + 1)); do
    seed=$(sed -nE 's/^seed ([0-9]+) failed.*/\1/p' "$log" | head -1)
    [ -n "$seed" ] || return 1 # it did not even begin, or saw too little: that is no find
    finds '' "$log.control" ./cascade-sim --quiet --seed "$seed" || return 0
    echo "seed $seed fails without $bug too: $folder/cascade-sim --seed $seed" >&2
    from=$((seed + 1))
    [ "$from" -le "$seeds" ] || return 1
  done
  return 1
}

# One row of the table.
try() {
  if [ "$1" = none ]; then
    try_none
    return
  fi
  local bug=$1 log=$logs/$1.log began=$SECONDS seed='' by='' after='' met
  if by_simulation "$bug" "$log"; then
    by=simulation
    after="$seed seeds"
  elif [ $few = 0 ]; then
    met=$(sed -nE 's/^planted: .* met ([0-9]+) times/\1/p' "$log" | tail -1)
    for test in "${tests[@]}"; do
      if finds "$bug" "$logs/$bug-$test.log" timeout -k 5 "$limit" "./$test" &&
        ! finds '' "$logs/$bug-$test.control" timeout -k 5 "$limit" "./$test"; then
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

# The tests without a bug, as one row.
try_none() {
  local log=$logs/none.log began=$SECONDS test
  if finds '' "$log" ./cascade-sim --quiet --seeds "$seeds"; then
    printf '%-4s FAILS: the simulation: %s\n' none "$log"
    return 1
  fi
  for test in "${tests[@]}"; do
    if finds '' "$logs/none-$test.log" timeout -k 5 "$limit" "./$test"; then
      printf '%-4s FAILS: %s: %s\n' none "$test" "$logs/none-$test.log"
      return 1
    fi
  done
  printf '%-4s %-72s %-16s %-34s %4d s\n' none "nothing is planted" "found nothing" \
    "$seeds seeds, ${#tests[@]} tests" $((SECONDS - began))
}

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
count=${#bugs[@]}
case " ${bugs[*]} " in
*" none "*) [ -e "$rows/none.missed" ] || count=$((count - 1)) ;;
esac
echo "$((count - missed)) found, $missed missed ($SECONDS s)"
[ "$missed" = 0 ]
