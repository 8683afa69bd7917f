#!/bin/bash
# Whether libraries and programs are free of planted bugs (engine/base/planted.h): no symbol planted_*, no text of
# the list. That it would find them is tried on planted.c itself.
# usage: scripts/check-planted.sh FILE...   (takes some seconds)
set -euo pipefail
cd "$(dirname "$0")/.."
CC=${CC:-cc}
NM=${NM:-nm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sed -nE 's/.*BUG\([MN][0-9]+, "(.*)"\).*/\1/p' engine/base/planted.h > "$work/texts"
[ "$(wc -l < "$work/texts")" -gt 20 ] || { echo "planted: the list of bugs was not found" >&2; exit 1; }

# Prints what remains in a file; false: nothing. One without symbols still has texts.
remains() {
  { "$NM" "$1" 2> /dev/null || true; } | grep 'planted_' || grep -aoFf "$work/texts" "$1"
}

"$CC" -std=gnu17 -D_GNU_SOURCE -DCASCADE_PLANTED -Iengine -c -o "$work/planted.o" engine/base/planted.c
remains "$work/planted.o" > /dev/null || { echo "planted: planted.c itself was not found" >&2; exit 1; }
strip -x "$work/planted.o"
remains "$work/planted.o" > /dev/null || { echo "planted: planted.c without symbols was not found" >&2; exit 1; }

bad=0
for file in "$@"; do
  [ -s "$file" ] || { echo "planted: $file: not built" >&2; exit 1; }
  if found=$(remains "$file"); then
    echo "planted: $file: ${found%%$'\n'*}" >&2
    bad=1
  fi
done
echo "planted: $# files looked at"
exit $bad
