#!/bin/bash
# Prints the README's comparison with RocksDB, in Markdown, from a run of workloads/versus-rocksdb.yaml: a table
# for each workload with the throughput of each phase, the ratios to RocksDB with their 95 % intervals, and what
# a read of phase C asked of the device.
#
# usage: scripts/readme-table.sh [--update] [RUN]     RUN: a run's directory, default results/reference/versus-rocksdb
#          --update puts it between the two marker comments of README.md (README=FILE: of another file)
set -euo pipefail
cd "$(dirname "$0")/.."
update=0
if [ "${1:-}" = --update ]; then
  update=1
  shift
fi
run=${1:-results/reference/versus-rocksdb}
readme=${README:-README.md}
begin='<!-- versus-rocksdb: begin, written by scripts/readme-table.sh -->'
end='<!-- versus-rocksdb: end -->'

for file in "$run/summary.csv" "$run/record.jsonl" "$run/provenance.json"; do
  if [ ! -f "$file" ]; then
    echo "readme-table: $file is not there (make reproduce)" >&2
    exit 2
  fi
done

# The member of provenance.json with that name, as it stands there.
provenance() {
  sed -n "s/^ *\"$1\": *//p" "$run/provenance.json" | sed 's/,$//; s/^"//; s/"$//' | head -1
}

# "d1 10000000 100 128 MiB": what each workload is.
workloads() {
  sed -n 's/.*"workload":{"hash":"[^"]*","label":"\([^"]*\)","records":\([0-9]*\),"value_size":\([0-9]*\).*"cache":"\([^"]*\)".*/\1 \2 \3 \4/p' \
    "$run/record.jsonl" | sort -u
}

table() {
  workloads | awk -v rocksdb="$(provenance rocksdb)" '
    function thousands(number,   text, result) {
      text = sprintf("%.0f", number)
      while (length(text) > 3) {
        result = "," substr(text, length(text) - 2) result
        text = substr(text, 1, length(text) - 3)
      }
      return text result
    }
    function ratio_of(workload, phase, name, metric,   key, digits) {
      key = workload SUBSEP phase SUBSEP name SUBSEP metric
      if (ratio[key] + 0 == 0) return "-"
      digits = ratio[key] < 10 ? 2 : 1
      if (low[key] == "") return sprintf("%.*f", digits, ratio[key])
      return sprintf("%.*f [%.*f .. %.*f]", digits, ratio[key], digits, low[key], digits, high[key])
    }
    function amount_of(workload, phase, name, metric,   key) {
      key = workload SUBSEP phase SUBSEP name SUBSEP metric
      if (median[key] == "") return "-"
      return metric == "throughput.ops_s" ? thousands(median[key]) : sprintf("%.2f", median[key])
    }
    function row(workload, phase, title, metric,   i, line, ratios) {
      for (i = 1; i <= names; i++) {
        line = line " " amount_of(workload, phase, name[i], metric) " |"
        if (name[i] != baseline) ratios = ratios " " ratio_of(workload, phase, name[i], metric) " |"
      }
      print "| " title " |" line ratios
    }
    function geometric_mean(workload,   i, k, line, key, sum, count) {
      for (i = 1; i <= names; i++) line = line " |"
      for (i = 1; i <= names; i++) {
        if (name[i] == baseline) continue
        sum = count = 0
        for (k = 1; k <= phases; k++) {
          key = workload SUBSEP phase[k] SUBSEP name[i] SUBSEP "throughput.ops_s"
          if (ratio[key] > 0) { sum += log(ratio[key]); count++ }
        }
        line = line (count == phases ? sprintf(" %.2f |", exp(sum / count)) : " - |")
      }
      print "| geometric mean |" line
    }
    BEGIN {
      title["load"] = "load"
      title["a"] = "A: 50 % reads, 50 % updates"
      title["b"] = "B: 95 % reads, 5 % updates"
      title["c"] = "C: reads"
      title["d"] = "D: 95 % latest reads, 5 % inserts"
      title["e"] = "E: 95 % scans of 1 to 100, 5 % inserts"
      title["f"] = "F: 50 % reads, 50 % read-modify-writes"
      phases = split("load a b c d e f", phase, " ")
      shown["cascade"] = "tasks"
      shown["cascade-threads"] = "threads"
      shown["rocksdb"] = "RocksDB " rocksdb
    }
    FNR == NR { # standard input: the workloads
      about[$1] = thousands($2) " records of " $3 " B, cache " $4 " " $5
      next
    }
    FNR == 1 {
      columns = split($0, header, ",")
      for (i = 1; i <= columns; i++) column[header[i]] = i
      next
    }
    {
      split($0, field, ",")
      workload = field[column["workload_label"]]
      label = field[column["label"]]
      key = workload SUBSEP field[column["phase"]] SUBSEP label SUBSEP field[column["metric"]]
      median[key] = field[column["median"]]
      ratio[key] = field[column["ratio"]]
      low[key] = field[column["ratio_low"]]
      high[key] = field[column["ratio_high"]]
      baseline = field[column["baseline"]]
      if (field[column["n"]] > n) n = field[column["n"]]
      if (!(workload in seen)) { seen[workload] = 1; order[++workloads] = workload }
      if (!(label in known)) { known[label] = 1; name[++names] = label }
    }
    END {
      if (names == 0) { print "readme-table: summary.csv is empty" > "/dev/stderr"; exit 1 }
      for (w = 1; w <= workloads; w++) {
        line = "| operations per second |"
        rule = "|---|"
        ratios = ""
        for (i = 1; i <= names; i++) {
          one = name[i] in shown ? shown[name[i]] : name[i]
          line = line " " one " |"
          rule = rule "--:|"
          if (name[i] != baseline) { ratios = ratios " " one " / RocksDB |"; rule = rule "--:|" }
        }
        printf "**%s**: %s\n\n%s%s\n%s\n", toupper(order[w]), about[order[w]], line, ratios, rule
        for (i = 1; i <= phases; i++) row(order[w], phase[i], title[phase[i]], "throughput.ops_s")
        geometric_mean(order[w])
        row(order[w], "c", "device reads for each read of C", "per_op.device_reads")
        print ""
      }
      printf "Medians of %d repetitions; ratios with their 95 %% intervals (`docs/statistics.md`).", n
    }' - "$run/summary.csv"
  echo " $(provenance cpu_model), $(provenance cores_online) cores, Linux $(provenance kernel); commit" \
    "$(provenance commit | cut -c1-12)."
}

if [ $update = 0 ]; then
  table
  exit
fi
if [ "$(grep -cxF "$begin" "$readme")" != 1 ] || [ "$(grep -cxF "$end" "$readme")" != 1 ]; then
  printf 'readme-table: %s has not the two lines\n%s\n%s\n' "$readme" "$begin" "$end" >&2
  exit 2
fi
fresh=$(mktemp)
trap 'rm -f "$fresh"' EXIT
written=$(table)
WRITTEN=$written awk -v begin="$begin" -v end="$end" '
  $0 == end { inside = 0 }
  !inside { print }
  $0 == begin { inside = 1; print ENVIRON["WRITTEN"] }' "$readme" > "$fresh"
cat "$fresh" > "$readme"
echo "readme-table: $readme"
