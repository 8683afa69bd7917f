#!/bin/bash
# Follows docs/add-a-component.md to the letter with a build folder's programs: every block of it that is marked
# `check` is run in its order, outside of the tree; every one marked `tree` in a copy of the sources, where what is
# compiled anew is what the page changes. Runs of the bench are made short; all else is as it stands there.
# usage: scripts/check-add-a-component.sh BUILD_FOLDER   (takes about half a minute)
set -euo pipefail

build=$(cd "${1:?build folder}" && pwd)
source=$(cd "$(dirname "$0")/.." && pwd)
page=$source/docs/add-a-component.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export build work

fail() {
  echo "add-a-component: $*" >&2
  exit 1
}

# --- the top of a tree with that build in it, where the page can do as it likes ---

tree=$work/tree
mkdir -p "$tree/build"
for entry in engine workloads docs scripts tests; do
  ln -s "$source/$entry" "$tree/$entry"
done
cp -r "$source/components" "$source/examples" "$tree/"
ln -s "$build" "$tree/build/release"
cd "$tree"

# The blocks of that mark, one after the other; one that names a file becomes that file.
blocks() {
  awk -v mark="$1" '
    { line = $0; sub(/^ +/, "", line) }
    inside && line ~ /^```$/ { print end; inside = 0; next }
    inside { print line_of($0); next }
    line ~ /^```[a-z]+ / {
      split(line, word, " ")
      if (word[2] != mark) next
      inside = 1
      indent = match($0, /[^ ]/) - 1
      end = word[3] == "" ? "" : "END_OF_FILE"
      if (word[3] != "") print "cat > " word[3] " << \"END_OF_FILE\""
    }
    function line_of(text) { return indent > 0 ? substr(text, indent + 1) : text }' "$page"
}

# Short runs, no pictures where nothing draws them, and programs of the build in use.
cat > "$work/short.sh" << 'END'
set -euo pipefail
bin=${bin:-$build}
cascade() {
  case $1 in
    run)
      "$bin/cascade" "$@" --set workload.records=20000 --set "phases.run.duration=500 ms" \
        --set "phases.run.warmup=0 s" --repeats 2 --quiet > "$work/out.txt"
      ;;
    bench) "$bin/cascade" "$@" --quiet --repeats 1 --size 10000 > "$work/out.txt" ;;
    plot)
      if command -v gnuplot > /dev/null; then "$bin/cascade" "$@" > "$work/out.txt"; fi
      ;;
    *) "$bin/cascade" "$@" > "$work/out.txt" ;;
  esac
  cat "$work/out.txt"
}
END

# Runs blocks in one shell; on an error its last words.
follow() {
  local name=$1 script=$2
  { cat "$work/short.sh"; echo 'set -x'; cat "$script"; } > "$work/$name.run"
  if ! bash "$work/$name.run" > "$work/$name.log" 2>&1 < /dev/null; then
    tail -40 "$work/$name.log" >&2
    fail "$name: a command of the page failed (the last of those above that begin with +)"
  fi
}

says() {
  grep -q "$2" "$work/$1.log" || fail "$1: nothing says '$2'"
}

# --- outside of the tree ---

blocks check > "$work/check.sh"
[ "$(grep -c . "$work/check.sh")" -gt 20 ] || fail "the page has hardly any block marked check"
follow check "$work/check.sh"
says check 'memtable mine, seed'
says check 'memtable.first_capacity'
[ "$(grep -c '"kind":"mine"' results/mine/latest/record.jsonl)" = 4 ] ||
  fail "the comparison's record has not four phases of the new variant"
grep -q '"components":\[{"path":"elsewhere/mine.so","hash":"[0-9a-f]\{16\}"}\]' results/mine/latest/record.jsonl ||
  fail "the record does not say where the variant is from"
grep -q '"components": \[' results/mine/latest/provenance.json || fail "nor does the provenance"
grep -q 'mine' results/mine/latest/summary.csv || fail "the variant is in no summary"
if command -v gnuplot > /dev/null; then
  grep -rq 'mine' results/mine/latest/plots || fail "the variant is in no picture"
  grep -rq 'treap' results/out-of-tree/latest/plots || fail "the example is in no picture"
fi
scripts/component-tables.sh memtable "$tree/results/bench-memtable/latest" > "$work/tables.log" ||
  fail "what the bench left behind makes no tables"
says tables '| insert_ns | btree | [0-9.]* [a-z]* |'
says tables '|  | mine | [0-9.]* [a-z]*<br>[0-9.]*'
echo "add-a-component: outside of the tree: ok"

# --- in the tree: the library of components with the new variant in it, and what links it ---

# What ninja does for a program, but with the library $work/components.a.
relink() {
  local target=$1 command
  command=$(ninja -C "$build" -t commands "$target" | tail -1)
  command=${command//liblayer_components.a/$work/components.a}
  (cd "$build" && bash -c "${command/-o $target /-o $work/bin/$target }") ||
    fail "$target cannot be linked"
}

# The command that compiled registry.c, for another file.
compile() {
  local from=$1 to=$2 command
  command=$(ninja -C "$build" -t commands layer_components | sed -n '/-c .*\/components\/registry\.c/p')
  command=${command%% -MD *}
  (cd "$build" && bash -c "${command//$source/$tree} -c $from -o $to") ||
    fail "$from does not compile"
}

blocks tree > "$work/tree.sh"
# The first two lines change the tree, the rest uses what was built of it.
head -2 <(grep . "$work/tree.sh") > "$work/change.sh"
tail -n +3 <(grep . "$work/tree.sh") | sed "s|build/release/|$work/bin/|" > "$work/use.sh"
follow change "$work/change.sh"
cmp -s components/registry.c "$source/components/registry.c" && fail "the page's line did not change registry.c"
mkdir -p "$work/bin"
cp "$build/liblayer_components.a" "$work/components.a"
compile "$tree/components/registry.c" "$work/registry.c.o"
compile "$tree/components/memtable/mine.c" "$work/mine.c.o"
ar r "$work/components.a" "$work/registry.c.o" "$work/mine.c.o" 2> "$work/ar.log"
for target in cascade memtable_test registry_test fuzz_memtable; do
  relink "$target"
done
bin=$work/bin follow use "$work/use.sh"
says use 'memtable mine, seed'
says use 'sorted array of pointers to entries'
"$work/bin/registry_test" > "$work/registry.log" 2>&1 || fail "registry_test does not take the new row"
echo "add-a-component: in the tree: ok"
