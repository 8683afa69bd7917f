#!/bin/bash
# Runs the reference workloads D1 and D2 (workloads/d1-a.yaml, d2-a.yaml), each as it stands and then shorter
# with every value verified, and holds the records against what is promised: no operation failed, no value was
# wrong, and memory stayed within the budget. About ten minutes. Ends with `N passed, N failed`.
#
# usage: scripts/acceptance-d1-d2.sh [ARGUMENT...]      arguments of `cascade run`, for every run, e.g.
#          scripts/acceptance-d1-d2.sh --set workload.records=200000
# CASCADE=build/release/cascade is the command that is run, OUT=build/acceptance takes the results.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
command=${CASCADE:-build/release/cascade}
out=${OUT:-build/acceptance}
passed=0
failed=0

# What the process may hold beside the engine's budget: the bench's histograms, stacks, code.
allowance_bytes=$((64 << 20))

# Reads a record.jsonl; one line for each phase, and `bad: ...` for each broken promise.
check_records() {
  awk -v verified="$1" -v allowance="$allowance_bytes" '
    # The number after "name":, searched for behind the text `after`; "null" where it is not known.
    function number(name, after,   at, rest) {
      rest = $0
      if (after != "") {
        at = index(rest, after)
        if (at == 0) return "null"
        rest = substr(rest, at + length(after))
      }
      at = index(rest, "\"" name "\":")
      if (at == 0) return "null"
      rest = substr(rest, at + length(name) + 3)
      match(rest, /^(null|-?[0-9.]+([eE][-+]?[0-9]+)?)/)
      return RLENGTH > 0 ? substr(rest, 1, RLENGTH) : "null"
    }
    function text(name, after,   at, rest) {
      at = index($0, after)
      rest = substr($0, at + length(after))
      at = index(rest, "\"" name "\":\"")
      rest = substr(rest, at + length(name) + 4)
      return substr(rest, 1, index(rest, "\"") - 1)
    }
    function bad(what) { print "bad: " phase ": " what; broken = 1 }
    {
      phase = text("name", "\"phase\":{")
      kind = text("kind", "\"phase\":{")
      operations = number("operations", "\"run_order\":")
      failures = number("failed", "\"run_order\":")
      rate = number("ops_s", "\"throughput\":{")
      rss = number("rss_peak_bytes", "\"amplification\":{")
      budget = number("budget_bytes", "\"amplification\":{")
      checked = number("checked", "\"verify\":{")
      mismatches = number("mismatches", "\"verify\":{")
      printf "%-8s %12s operations %12.0f ops/s  peak %7.1f of %7.1f MiB  verified %s\n", phase, operations,
        rate, rss / 1048576, budget / 1048576, checked
      if (operations == "null" || operations + 0 <= 0) bad("no operations")
      if (failures == "null" || failures + 0 != 0) bad(failures " operations failed")
      if (rss == "null" || budget == "null") bad("memory was not measured")
      else if (rss + 0 > budget + allowance) bad("memory passed the budget: " rss " bytes of " budget)
      if (verified) {
        if (mismatches == "null" || mismatches + 0 != 0) bad(mismatches " values were wrong")
        if (kind == "run" && (checked == "null" || checked + 0 <= 0)) bad("nothing was verified")
      }
    }
    END { if (NR == 0) { print "bad: no records"; broken = 1 } exit broken }
  '
}

# Runs one workload; name, whether values are verified, workload file, arguments.
accept() {
  local name=$1 verified=$2 file=$3
  shift 3
  rm -rf "${out:?}/$name"
  if ! "$command" run "$file" --no-plot --set "name=$name" --out "$out" "$@" > "$out/$name.log" 2>&1; then
    tail -20 "$out/$name.log"
    echo "$name: FAILED: the run"
    failed=$((failed + 1))
  elif ! check_records "$verified" < "$out/$name/latest/record.jsonl"; then
    echo "$name: FAILED: $out/$name/latest/record.jsonl"
    failed=$((failed + 1))
  else
    echo "$name: ok"
    passed=$((passed + 1))
  fi
}

if [ ! -x "$command" ]; then
  echo "acceptance: $command is not there (make release)" >&2
  exit 2
fi
mkdir -p "$out"
short=(--set verify=true --set "phases.run-2.duration=10 s" --set "phases.run-32.duration=10 s"
  --set "phases.run-2.warmup=0 s" --set "phases.run-32.warmup=0 s")
accept d1-a 0 workloads/d1-a.yaml "$@"
accept d1-a-verified 1 workloads/d1-a.yaml --set workload.records=2000000 "${short[@]}" "$@"
accept d2-a 0 workloads/d2-a.yaml "$@"
accept d2-a-verified 1 workloads/d2-a.yaml --set workload.records=500000 "${short[@]}" "$@"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
