#!/bin/bash
# Installs the library of a build folder under a temporary prefix and embeds it in every way that the README
# names: pkg-config shared, pkg-config static, find_package; and checks that nothing but cascade_* shows.
# usage: scripts/check-embedding.sh BUILD_FOLDER   (takes about 10 s)
set -euo pipefail

build=$(cd "${1:?build folder}" && pwd)
source=$(cd "$(dirname "$0")/.." && pwd)
CC=${CC:-cc}
NM=${NM:-nm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

fail() {
  echo "embedding: $*" >&2
  exit 1
}

# Runs one embedding program in a fresh database and looks at what it prints.
run() {
  local name=$1 program=$2
  shift 2
  local output
  output=$(env "$@" "$program" "$work/$name.data") || fail "$name: the program failed"
  [ "$output" = "$(printf 'grace: 1906\nada = 1815\ngrace = 1906')" ] || fail "$name: it printed: $output"
  echo "embedding: $name: ok"
}

cmake --install "$build" --prefix "$prefix" --component library > "$work/install.log" 2>&1 ||
  { cat "$work/install.log"; fail "install failed"; }
libdir=$(dirname "$(find "$prefix" -name libcascade.a)")
mapfile -t headers < <(find "$prefix" -name '*.h')
installed=$(for header in "${headers[@]}"; do basename "$header"; done | sort | tr '\n' ' ')
[ "$installed" = 'cascade.h cascade_runtime.h ' ] || fail "these headers were installed: $installed"

# --- what shows ---

others=$("$NM" -D --defined-only "$libdir/libcascade.so" | awk '{ print $3 }' | grep -v '^cascade_' || true)
[ -z "$others" ] || fail "libcascade.so shows $others"
others=$("$NM" -g --defined-only "$libdir/libcascade.a" | awk 'NF == 3 { print $3 }' | grep -v '^cascade_' || true)
[ -z "$others" ] || fail "libcascade.a shows $others"
declared=$(grep -oh 'cascade_[a-z_]*(' "$source/engine/cascade.h" "$source/engine/cascade_runtime.h" |
  tr -d '(' | sort -u | grep -vxE 'cascade_(bytes|string|task_function|callback|runtime_function)')
defined=$("$NM" -D --defined-only "$libdir/libcascade.so" | awk '{ print $3 }' | sed 's/@.*//' | sort -u)
missing=$(comm -23 <(echo "$declared") <(echo "$defined"))
[ -z "$missing" ] || fail "declared in a header but not in the library: $missing"

# --- what must not be bound at its first call: the dynamic linker would run on a task's small stack. What comes
# from libgcc.a is in the program itself. ---

if [ "$(uname -m)" = x86_64 ]; then
  lazy=$(comm -12 \
    <("$NM" -u "$libdir/libcascade.a" | awk '{ print $2 }' | grep -v '^__.*ti[0-9]$' | sort -u) \
    <(objdump -r "$libdir/libcascade.a" | awk '$2 == "R_X86_64_PLT32" { print $3 }' | sed 's/[-+]0x.*//' | sort -u))
  [ -z "$lazy" ] || fail "libcascade.a calls through a PLT: $lazy"
fi

# --- pkg-config; the installed prefix is a temporary one, hence --define-prefix ---

export PKG_CONFIG_PATH=$libdir/pkgconfig
pc() { pkg-config --define-variable=prefix="$prefix" "$@" cascade; }
# Words, not one string: flags are split on purpose.
# shellcheck disable=SC2046
"$CC" -std=c99 -pedantic -Wall -Wextra -Werror -o "$work/shared" "$source/examples/embed.c" $(pc --cflags --libs)
run "pkg-config, shared" "$work/shared" LD_LIBRARY_PATH="$libdir"
# shellcheck disable=SC2046
"$CC" -static -o "$work/static" "$source/examples/embed.c" $(pc --static --cflags --libs)
run "pkg-config, static" "$work/static"
# shellcheck disable=SC2046
"$CC" -std=c99 -pedantic -Wall -Wextra -Werror -o "$work/primes" "$source/examples/runtime.c" $(pc --cflags --libs)
output=$(LD_LIBRARY_PATH="$libdir" "$work/primes") || fail "the runtime alone: the program failed"
[ "$output" = '78498 primes below 1000000' ] || fail "the runtime alone: it printed: $output"
echo "embedding: the runtime alone: ok"

# --- find_package ---

{
  cmake -S "$source/examples" -B "$work/package" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$CC" &&
    cmake --build "$work/package"
} > "$work/package.log" 2>&1 || { cat "$work/package.log"; fail "find_package failed"; }
run "find_package, shared" "$work/package/embed"
run "find_package, static" "$work/package/embed_static"

# --- the header in C++ ---

if command -v clang++ > /dev/null; then
  echo '#include <cascade_runtime.h>' |
    clang++ -std=c++11 -Wall -Wextra -Werror -I"$(dirname "${headers[0]}")" -fsyntax-only -x c++ - ||
    fail "the headers are not C++"
  echo "embedding: C++: ok"
fi
