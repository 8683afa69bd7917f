#!/bin/bash
# Runs the fuzz targets of tests/fuzz with libFuzzer, the sanitizers on, one after the other, and says for each
# how many inputs it ran and what it covers. The corpus grows in build/fuzz/corpus and is used again.
#
# usage: scripts/fuzz.sh [TARGET...]      TARGET: wal_file, manifest, json ...; without: all
#   SECONDS_EACH=30   how long each runs
# A find is kept in build/fuzz/crashes, with the command that runs it again; then the exit status is 1.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

seconds=${SECONDS_EACH:-30}
folder=build/fuzz
corpus=$folder/corpus
crashes=$folder/crashes
# Leaves no room for what an input of 64 KiB cannot justify: the largest single block is a log's stream.
limits=(-rss_limit_mb=1024 -malloc_limit_mb=64 -timeout=10 -max_len=16384)

# Sanitizers of this age lose their shadow memory to the address randomisation of newer kernels.
fixed_addresses=()
if setarch -R true 2> /dev/null; then
  fixed_addresses=(setarch -R)
fi
export UBSAN_OPTIONS=print_stacktrace=1
if ! command -v llvm-symbolizer > /dev/null && addr2line=$(command -v addr2line); then
  export ASAN_OPTIONS=external_symbolizer_path=$addr2line
fi

scripts/build.sh "$folder" clang Asan -DCASCADE_FUZZ=ON -DCMAKE_C_FLAGS=-fsanitize=fuzzer-no-link \
  fuzz_targets || exit 1
mkdir -p "$corpus" "$crashes"
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  for file in tests/fuzz/fuzz_*.c; do
    name=${file##*/fuzz_}
    names+=("${name%.c}")
  done
fi
for name in "${names[@]}"; do
  if [ ! -x "$folder/libfuzzer_$name" ]; then
    echo "fuzz.sh: $name: no such target" >&2
    exit 2
  fi
done

# The last number behind a word in libFuzzer's output.
last_number() {
  grep -oE "$1 *[0-9]+" "$2" | tail -1 | grep -oE '[0-9]+$' || echo '?'
}

finds=0
for name in "${names[@]}"; do
  log=$folder/$name.log
  mkdir -p "$corpus/$name"
  # The seeds themselves may be the find.
  if ! "${fixed_addresses[@]}" "$folder/fuzz_$name" --seeds "$corpus/$name" > "$log" 2>&1 ||
    ! "${fixed_addresses[@]}" "$folder/libfuzzer_$name" "${limits[@]}" -max_total_time="$seconds" \
      -print_final_stats=1 -artifact_prefix="$crashes/$name-" "$corpus/$name" > "$log" 2>&1; then
    finds=$((finds + 1))
    artifact=$(sed -nE 's/.*Test unit written to (.*)/\1/p' "$log" | tail -1)
    echo "$name: FIND: $(grep -m1 -E 'ERROR:|runtime error|failed:|assertion|SUMMARY' "$log")"
    echo "  again: ${fixed_addresses[*]} $folder/fuzz_$name ${artifact:-} (all of it: $log)"
    continue
  fi
  printf '%-16s %10s inputs, %6s a second, %6s edges, corpus of %s\n' "$name:" \
    "$(last_number 'number_of_executed_units:' "$log")" "$(last_number 'average_exec_per_sec:' "$log")" \
    "$(last_number 'cov:' "$log")" "$(last_number 'corp:' "$log")"
done
echo "${#names[@]} targets, $finds finds"
[ "$finds" = 0 ]
