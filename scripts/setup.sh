#!/bin/bash
# Installs what building, testing and plotting need, on Debian 12 and Ubuntu. Does nothing, quickly, when
# nothing is missing. Where it cannot install, it says in one line what is missing and exits 1.
#
# Optional packages (plots, peers of the bench, fio, Valgrind, the formatter) are tried once; what could not be had is noted
# in build/setup-missing, is not tried again until `make clean`, and is no error.
set -euo pipefail
cd "$(dirname "$0")/.."

# One line each: `command:X` means that any X in PATH will do, otherwise the package itself must be installed;
# after | stand packages that serve as well on other releases.
required=(
  command:gcc gcc
  - libc6-dev
  command:clang clang
  - 'libclang-rt-14-dev|libclang-rt-dev|libclang-common-14-dev'
  command:cmake cmake
  command:ninja ninja-build
  command:make make
  command:pkg-config 'pkg-config|pkgconf'
  command:git git
  - liburing-dev
  - libzstd-dev
  - liblz4-dev
  - libxxhash-dev
  - libjemalloc-dev
  - libyaml-dev
  - libcyaml-dev
  - libcmocka-dev
)
optional=(
  command:clang-format-14 clang-format-14
  command:gnuplot gnuplot-nox
  - fonts-dejavu-core
  - librocksdb-dev
  - libleveldb-dev
  - liblmdb-dev
  - libwiredtiger-dev
  command:fio fio
  command:valgrind valgrind
)
noted=build/setup-missing

installed=" "
read_installed() {
  local state package
  command -v dpkg-query > /dev/null || return 0
  installed=" "
  while read -r state package; do
    [ "$state" = ii ] && installed+="${package%%:*} "
  done < <(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2> /dev/null)
  return 0
}

any_installed() {
  local choice names
  IFS='|' read -ra names <<< "$1"
  for choice in "${names[@]}"; do
    if [[ $installed == *" $choice "* ]]; then
      return 0
    fi
  done
  return 1
}

# Prints, from pairs (command, package), the packages that are not there.
missing_of() {
  while [ $# -gt 0 ]; do
    if { [ "$1" = - ] || ! command -v "${1#command:}" > /dev/null; } && ! any_installed "$2"; then
      echo "$2"
    fi
    shift 2
  done
}

# Of the names in a|b|c the first that apt knows; the first of all if it knows none.
choose() {
  local choice names
  IFS='|' read -ra names <<< "$1"
  for choice in "${names[@]}"; do
    if apt-cache show "$choice" > /dev/null 2>&1; then
      echo "$choice"
      return
    fi
  done
  echo "${names[0]}"
}

# The packages of a list on one line, of each the first name.
names_of() {
  sed '/^$/d; s/|.*//' <<< "$1" | tr '\n' ' '
}

give_up() {
  echo "setup: missing: $(names_of "$missing")($1)" >&2
  exit 1
}

read_installed
missing=$(missing_of "${required[@]}")
wanted=$(missing_of "${optional[@]}")
if [ -n "$wanted" ] && [ -f "$noted" ]; then
  wanted=$(grep -vxFf "$noted" <<< "$wanted" || true)
fi
[ -n "$missing$wanted" ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  if command -v sudo > /dev/null && { [ -t 0 ] || sudo -n true 2> /dev/null; }; then
    as_root=(sudo)
  elif [ -n "$missing" ]; then
    give_up "not root, and no sudo that works without a question"
  else
    echo "setup: going on without the optional $(names_of "$wanted")(not root)" >&2
    exit 0
  fi
fi
command -v apt-get > /dev/null || { [ -z "$missing" ] && exit 0; give_up "no apt-get here"; }

apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3)
echo "setup: installing $(names_of "$missing"$'\n'"$wanted")" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "${apt[@]}" update > "$log" 2>&1 < /dev/null && [ -n "$missing" ]; then
  tail -5 "$log" >&2
fi

if [ -n "$missing" ]; then
  packages=()
  while read -r package; do packages+=("$(choose "$package")"); done <<< "$missing"
  "${apt[@]}" install -y --no-install-recommends "${packages[@]}" > "$log" 2>&1 < /dev/null ||
    { tail -20 "$log" >&2; give_up "apt-get install failed"; }
  read_installed
  missing=$(missing_of "${required[@]}")
  [ -z "$missing" ] || give_up "still not there after apt-get install"
fi

# Optional ones together first, which is quick; one by one when that fails, so that one bad name costs one.
if [ -n "$wanted" ]; then
  packages=()
  while read -r package; do packages+=("$(choose "$package")"); done <<< "$wanted"
  if ! "${apt[@]}" install -y --no-install-recommends "${packages[@]}" > "$log" 2>&1 < /dev/null; then
    for package in "${packages[@]}"; do
      "${apt[@]}" install -y --no-install-recommends "$package" > "$log" 2>&1 < /dev/null || true
    done
  fi
  read_installed
  wanted=$(missing_of "${optional[@]}")
  if [ -n "$wanted" ]; then
    mkdir -p build
    echo "$wanted" > "$noted"
    echo "setup: going on without the optional $(names_of "$wanted")" >&2
  fi
fi
