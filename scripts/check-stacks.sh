#!/bin/bash
# Holds the stack that each task type of the engine declares against the deepest way through the call graph of a
# gcc Release build (a second or two). A cycle, a call by pointer that engine/runtime/stacks.txt does not know, a
# library function that is not listed there, or a bound that is too small fails it.
#
# usage: scripts/check-stacks.sh [--ways] [BUILD_FOLDER]     --ways: prints the deepest way of each type
# Without a folder: builds what is needed in build/release.
set -euo pipefail
cd "$(dirname "$0")/.."

ways=()
if [ "${1:-}" = --ways ]; then
  ways=(--ways)
  shift
fi
if [ $# -eq 0 ]; then
  scripts/build.sh build/release gcc Release check-stacks layer_database
fi
build=${1:-build/release}
[ -f "$build/objects.txt" ] || {
  echo "check-stacks.sh: $build has no call graph: it takes gcc and the kind Release" >&2
  exit 2
}
exec "$build/check-stacks" "${ways[@]}" "$PWD" "$build/objects.txt"
