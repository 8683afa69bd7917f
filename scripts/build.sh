#!/bin/bash
# Configures a build folder and builds targets in it, quietly: one line that says what this build is, and on
# failure the errors. The whole output stays in FOLDER/configure.log and FOLDER/build.log.
#
# usage: scripts/build.sh FOLDER COMPILER KIND [-DNAME=VALUE...] [TARGET...]
#   e.g. scripts/build.sh build/release gcc Release cascade; without targets: everything
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?folder} compiler=${2:?compiler} kind=${3:?kind}
shift 3
definitions=()
while [[ ${1:-} == -D* ]]; do
  definitions+=("$1")
  shift
done

# Runs a step with its output in a log; shows what went wrong if something did.
quietly() {
  local log=$1
  shift
  if ! "$@" > "$log" 2>&1 < /dev/null; then
    grep -E 'error:|FAILED:|CMake Error|undefined reference' "$log" | head -40 >&2 || true
    echo "--- the end of $log:" >&2
    tail -30 "$log" >&2
    exit 1
  fi
}

mkdir -p "$folder"
quietly "$folder/configure.log" cmake -S . -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE="$kind" \
  -DCMAKE_C_COMPILER="$compiler" "${definitions[@]}"
sed -n 's/^-- \(cascade .*\)/\1/p' "$folder/configure.log" >&2
quietly "$folder/build.log" ninja -C "$folder" -j "${JOBS:-$(nproc)}" -k 20 "$@"
