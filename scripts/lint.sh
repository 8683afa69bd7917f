#!/bin/bash
# Every check over the text of the tree: tidy and arrows (tests of the tree, which must pass), the formatter's
# opinion, and cppcheck, clang-tidy and shellcheck where they are installed.
# usage: scripts/lint.sh BUILD_FOLDER   with arrows_test and tidy_test built there
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
build=${1:?build folder}
bad=0

step() {
  local name=$1
  shift
  if "$@"; then
    echo "lint: $name: ok"
  else
    echo "lint: $name: FAILED"
    bad=1
  fi
}

absent() {
  echo "lint: $1: left out (not installed)"
}

files() {
  git ls-files --cached --others --exclude-standard -- "$@"
}

formatted() {
  files '*.c' '*.h' | xargs -r clang-format-14 --dry-run --Werror
}

# Suppressed: what cppcheck makes of macros that return a status by value, of mmap(-1), of byte orders, of a call
# that lies on the stack of the task that waits for it, of what a call through the door fills in, and of a choice among
# several, of which there is one.
run_cppcheck() {
  cppcheck --quiet --error-exitcode=1 --enable=warning --inline-suppr --std=c17 --library=posix \
    --suppress=missingIncludeSystem \
    --suppress=returnDanglingLifetime --suppress=selfAssignment --suppress='memleak:engine/base/memory.c' \
    --suppress='invalidFunctionArg:engine/base/memory.c' --suppress='invalidFunctionArg:engine/base/planted.c' \
    --suppress='uninitvar:engine/buffer/buffer.c' --suppress='nullPointer:engine/runtime/stepped.c' \
    --suppress='autoVariables:engine/runtime/call.c' --suppress='*:*_test.c' \
    -D_GNU_SOURCE -Iengine -I. -j "$(nproc)" engine components harness
}

# Checks that find mistakes and nothing else here; the path-sensitive analyser takes asserts for possible.
run_clang_tidy() {
  local checks='-*' check
  for check in infinite-loop macro-repeated-side-effects suspicious-memset-usage suspicious-semicolon \
    too-small-loop-variable misplaced-pointer-arithmetic-in-alloc signal-handler terminating-continue \
    undefined-memory-manipulation unused-return-value suspicious-enum-usage suspicious-memory-comparison; do
    checks+=",bugprone-$check"
  done
  # Its front end does not know gcc's call graph, and only builds with planted bugs have planted.c.
  mkdir -p "$build/lint"
  sed 's/ -fcallgraph-info=su//' "$build/compile_commands.json" > "$build/lint/compile_commands.json"
  files 'engine/*.c' 'components/*.c' 'harness/*.c' | grep -vE '_(test|fuzz)\.c$|/planted\.c$' |
    xargs -r -n 8 -P "$(nproc)" "$1" -p "$build/lint" --quiet --warnings-as-errors='*' --checks="$checks" 2> /dev/null
}

run_shellcheck() {
  shellcheck -S warning scripts/*.sh .ci/run
}

step tidy "$build/tidy_test"
step arrows "$build/arrows_test"
if command -v clang-format-14 > /dev/null; then step format formatted; else absent clang-format-14; fi
if command -v shellcheck > /dev/null; then step shellcheck run_shellcheck; else absent shellcheck; fi
if command -v cppcheck > /dev/null; then step cppcheck run_cppcheck; else absent cppcheck; fi
tidy=$(command -v clang-tidy-14 || command -v clang-tidy || true)
if [ -n "$tidy" ]; then step clang-tidy run_clang_tidy "$tidy"; else absent clang-tidy; fi
exit $bad
