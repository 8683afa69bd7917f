#!/bin/bash
# Runs YCSB's workloads A to F on one small database (workloads/ycsb-all.yaml) with every value and every row
# of a scan verified, once for each combination of settings: by default the engine as it stands, and with each
# variant of each component, with direct and buffered I/O, ordered keys, larger values and clients as threads.
# Fails if a value is wrong, an operation fails, or a phase verifies nothing. Ends with `N passed, N failed`.
#
# usage: scripts/verify-ycsb.sh [COMBINATION...]      settings of `cascade run --set`, between commas, e.g.
#          scripts/verify-ycsb.sh engine.codec.kind=none,workload.value_size=1000 engine.kind=rocksdb
# CASCADE=build/release/cascade is the command that is run, OUT=build/verify-ycsb takes the results.
# RECORDS=200000 of VALUE=100 bytes, each phase takes SECONDS_EACH=3; JUST=TEXT: only combinations with it.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
command=${CASCADE:-build/release/cascade}
out=${OUT:-build/verify-ycsb}
passed=0
failed=0

# Small memory, so that the data passes through flushes, merges and evictions.
common=(--no-plot --set verify=true --set "workload.records=${RECORDS:-200000}"
  --set "workload.value_size=${VALUE:-100}")
small=(--set "engine.memtable.size=8 MiB" --set "engine.cache.size=8 MiB")
for phase in a b c d e f; do
  common+=(--set "phases.$phase.duration=${SECONDS_EACH:-3} s" --set "phases.$phase.warmup=0 s")
done

# Every variant that the command was built with, as settings.
variants() {
  "$command" list --json | tr -d ' \n' |
    grep -oE '"kind":"[a-z_0-9]+","name":"[a-z_0-9]+"' |
    sed -E 's/"kind":"([^"]+)","name":"([^"]+)"/engine.\1.kind=\2/'
}

# Reads a record.jsonl: `bad: ...` for each broken promise, and what was verified in all.
check_records() {
  awk '
    function number(name,   at, rest) {
      rest = $0
      at = index(rest, "\"verify\":{")
      if (name == "failed") at = index(rest, "\"operations\":")
      if (at == 0) return "null"
      rest = substr(rest, at)
      at = index(rest, "\"" name "\":")
      if (at == 0) return "null"
      rest = substr(rest, at + length(name) + 3)
      match(rest, /^(null|[0-9]+)/)
      return RLENGTH > 0 ? substr(rest, 1, RLENGTH) : "null"
    }
    function bad(what) { print "bad: phase " phase ": " what; broken = 1 }
    {
      match($0, /"phase":\{"name":"[^"]*"/)
      phase = substr($0, RSTART + 17, RLENGTH - 18)
      checked = number("checked"); mismatches = number("mismatches"); failures = number("failed")
      if (mismatches == "null" || mismatches + 0 > 0) bad(mismatches " mismatches")
      if (failures == "null" || failures + 0 > 0) bad(failures " operations failed")
      if (phase != "load" && (checked == "null" || checked + 0 == 0)) bad("nothing was verified")
      sum += checked
    }
    END {
      if (NR != 7) { print "bad: " NR " phases, expected 7"; broken = 1 }
      printf "%d values and rows verified\n", sum
      exit broken
    }
  '
}

# Engines of others have options of other names, so the small memory is Cascade's alone.
verify() {
  local combination=$1 name settings=() setting split verified
  name=$(tr -c 'A-Za-z0-9._\n-' '-' <<< "${combination:-default}" | cut -c 1-60)
  name=${name#-}
  IFS=, read -ra split <<< "$combination"
  [[ $combination == *engine.kind=* ]] && settings=(--set engine.kind=cascade) || settings=("${small[@]}")
  for setting in "${split[@]}"; do
    settings+=(--set "$setting")
  done
  rm -rf "${out:?}/$name"
  if ! "$command" run "$workload" "${common[@]}" --set "name=$name" --out "$out" "${settings[@]}" \
    > "$out/$name.log" 2>&1; then
    tail -5 "$out/$name.log"
    echo "$name: FAILED: the run (see $out/$name.log)"
    failed=$((failed + 1))
  elif ! verified=$(check_records < "$out/$name/latest/record.jsonl"); then
    echo "$verified"
    echo "$name: FAILED: $out/$name/latest/record.jsonl"
    failed=$((failed + 1))
  else
    echo "$name: ok, $verified"
    passed=$((passed + 1))
  fi
}

if [ ! -x "$command" ]; then
  echo "verify-ycsb: $command is not there (make release)" >&2
  exit 2
fi
mkdir -p "$out"
workload=$out/workload.yaml
# The phases alone: with another engine, Cascade's options in the file would be unknown.
sed '/^engine:/,/^$/d' workloads/ycsb-all.yaml > "$workload"

if [ $# -eq 0 ]; then
  mapfile -t components < <(variants)
  [ "${#components[@]}" -gt 0 ] || { echo "verify-ycsb: the command lists no variants" >&2 && exit 2; }
  set -- "" "${components[@]}" engine.io.direct=false workload.insert_order=ordered clients_as=threads \
    workload.value_size=1000 workload.compressibility=0 engine.durability=memory engine.durability=power \
    workload.update_mode=rmw
fi
for combination in "$@"; do
  [[ $combination == *"${JUST:-}"* ]] && verify "$combination"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
