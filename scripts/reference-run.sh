#!/bin/bash
# Makes the reference runs that README.md quotes, from committed workload files, and puts their records, tables
# and plots into results/reference/. The comparison with RocksDB takes about 75 minutes, the others some
# minutes each; the machine should have nothing else to do.
#
# usage: scripts/reference-run.sh [NAME...]      names of workloads/NAME.yaml; default: versus-rocksdb ycsb-a
# ARGS="--repeats 5" are further arguments of `cascade run`, for every run. CASCADE=build/release/cascade is the
# command that is run, OUT=build/reference takes the runs whole, TO=results/reference what is kept of them.
#
# What is kept of the plots: where configurations were compared, the throughput of all phases, the ratios, and of
# each phase the latencies of its main operation (3 MB in all); of a single configuration all.
set -euo pipefail
cd "$(dirname "$0")/.."
command=${CASCADE:-build/release/cascade}
out=${OUT:-build/reference}
kept=${TO:-results/reference}
read -ra arguments <<< "${ARGS:-}"
names=("$@")
[ $# -gt 0 ] || names=(versus-rocksdb ycsb-a)

# The plots of a comparison that say most, by name. Of the operations of a phase the one that it is about.
chosen_plots() {
  local plot phase
  for plot in "$1"/{throughput,ratios}*.svg; do
    [ ! -f "$plot" ] || basename "$plot" .svg
  done
  for plot in "$1"/latency-*.svg; do
    phase=$(basename "$plot" .svg)
    case $phase in
      *-load-insert | *-scan) echo "$phase" ;;
      *-e-*) ;;
      *-read) echo "$phase" ;;
    esac
  done
}

for name in "${names[@]}"; do
  "$command" run "workloads/$name.yaml" --out "$out" "${arguments[@]}"
  from=$out/$name/latest
  to=$kept/$name
  rm -rf "$to"
  mkdir -p "$to/plots"
  cp "$from"/{record.jsonl,repetitions.csv,summary.csv,timeline.csv,config.resolved.yaml,provenance.json} "$to/"
  if "$command" compare "$from" > "$to/compare.md" 2> /dev/null; then
    for plot in $(chosen_plots "$from/plots"); do
      cp "$from/plots/$plot".{svg,png} "$to/plots/"
    done
  else # a single configuration
    rm "$to/compare.md"
    cp "$from"/plots/*.{svg,png} "$to/plots/"
  fi
  # Where the tree lay is nobody's business.
  sed -i "s|$PWD/||g" "$to"/*.json "$to"/*.jsonl "$to"/*.yaml "$to"/*.csv
  echo "$to: $(du -sh "$to" | cut -f1)"
done
for name in "${names[@]}"; do
  if [ "$name" = versus-rocksdb ]; then
    echo "README.md's table is written by: scripts/readme-table.sh --update"
  fi
done
