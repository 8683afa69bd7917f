#!/bin/bash
# Makes the reference runs that README.md quotes, from committed workload files, and puts their records, tables
# and plots into results/reference/. Takes some minutes; the machine should have nothing else to do.
#
# usage: scripts/reference-run.sh [NAME...]      names of workloads/NAME.yaml; default: those of the README
set -euo pipefail
cd "$(dirname "$0")/.."
command=${CASCADE:-build/release/cascade}
out=${OUT:-build/reference}
names=("$@")
[ $# -gt 0 ] || names=(ycsb-a d1-a d2-a)

for name in "${names[@]}"; do
  "$command" run "workloads/$name.yaml" --out "$out"
  to=results/reference/$name
  rm -rf "$to"
  mkdir -p "$to/plots"
  from=$out/$name/latest
  cp "$from"/{record.jsonl,repetitions.csv,summary.csv,timeline.csv,config.resolved.yaml,provenance.json} "$to/"
  cp "$from"/plots/*.{svg,png} "$to/plots/"
  # Where the tree lay is nobody's business.
  sed -i "s|$PWD/||g" "$to"/*.json "$to"/*.jsonl "$to"/*.yaml "$to"/*.csv
done
echo "results/reference: ${names[*]}"
