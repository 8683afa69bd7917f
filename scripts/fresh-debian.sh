#!/bin/bash
# The proof that the two commands of the README need nothing but make, git and CA certificates: makes a fresh
# Debian 12 in a folder outside of the tree, clones the committed tree into it, and runs `make run` and then
# `make test` there. Prints how long each took and PASS or FAIL.
#
# usage: scripts/fresh-debian.sh [--keep] [--source REPOSITORY] [--only-system] [FOLDER]
#   FOLDER         where the system goes (default: a temporary one, removed at the end); one that exists from an
#                  earlier run with --keep is used again, and its clone is made anew
#   --source       what is cloned (default: this repository)
#   --only-system  stop when the system stands
# Needs root, debootstrap, and about 4 GiB. The mirror is the host's.
set -euo pipefail

source_tree=$(cd "$(dirname "$0")/.." && pwd)
keep=0
only_system=0
folder=
while [ $# -gt 0 ]; do
  case $1 in
  --keep) keep=1 ;;
  --only-system) only_system=1 ;;
  --source)
    source_tree=$(cd "${2:?repository}" && pwd)
    shift
    ;;
  -*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
  *) folder=$1 ;;
  esac
  shift
done

fail() {
  echo "fresh-debian: $*" >&2
  exit 1
}
[ "$(id -u)" = 0 ] || fail "needs root"
command -v debootstrap > /dev/null || fail "needs debootstrap (apt-get install debootstrap)"

if [ -z "$folder" ]; then
  folder=$(mktemp -d "${TMPDIR:-/tmp}/fresh-debian-XXXXXX")
else
  mkdir -p "$folder"
  folder=$(cd "$folder" && pwd)
  keep=1
fi
case $folder/ in
"$source_tree"/*) fail "$folder lies inside the tree" ;;
esac

clean_up() {
  local mount
  for mount in dev/shm dev sys proc; do
    if mountpoint -q "$folder/$mount"; then
      umount "$folder/$mount" || umount -l "$folder/$mount"
    fi
  done
  if [ "$keep" = 0 ]; then
    # Never across a mount that would not go away.
    rm -rf --one-file-system "$folder"
  fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# The first archive of the host's apt sources that has bookworm itself: either form of sources file.
host_mirror() {
  local file
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    awk 'BEGIN { RS = ""; FS = "\n" }
      {
        uri = ""; suite = 0
        for (i = 1; i <= NF; i++) {
          n = split($i, word, /[ \t]+/)
          if (word[1] == "URIs:") uri = word[2]
          if (word[1] == "Suites:") for (j = 2; j <= n; j++) if (word[j] == "bookworm") suite = 1
        }
        if (uri != "" && suite) print uri
      }' "$file"
  done
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$file" ] || continue
    sed -nE 's/^deb (\[[^]]*\] )?([^ ]+) bookworm( .*)?$/\2/p' "$file"
  done
}

# What apt needs to reach the same mirror in the same way: sources, keys, proxies, certificates, name service.
copy_network() {
  rm -rf "$folder/etc/apt"
  cp -aL /etc/apt "$folder/etc/apt"
  rm -f "$folder"/etc/apt/apt.conf.d/*packagekit* "$folder"/etc/apt/apt.conf.d/*appstream*
  local keys
  for keys in /usr/share/keyrings /usr/local/share/ca-certificates; do
    if [ -d "$keys" ]; then
      mkdir -p "$folder$keys"
      cp -aL "$keys/." "$folder$keys/"
    fi
  done
  cp -L /etc/resolv.conf /etc/hosts "$folder/etc/"
  inside update-ca-certificates > /dev/null 2>&1 || true
}

# Runs a command in the system with a clean environment but for proxies.
inside() {
  local variable environment=(HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8)
  for variable in http_proxy https_proxy no_proxy; do
    [ -z "${!variable:-}" ] || environment+=("$variable=${!variable}")
  done
  chroot "$folder" /usr/bin/env -i "${environment[@]}" "$@"
}

began=$SECONDS
if [ ! -x "$folder/usr/bin/make" ]; then
  mirror=$(host_mirror | head -1)
  [ -n "$mirror" ] || fail "no apt source on this host has the suite bookworm"
  debootstrap --variant=minbase --include=make,git,ca-certificates bookworm "$folder" "$mirror" \
    > "$folder.log" 2>&1 || { tail -20 "$folder.log" >&2; fail "debootstrap failed"; }
  rm -f "$folder.log"
fi
copy_network
mount -t proc proc "$folder/proc"
mount --bind /sys "$folder/sys"
mount --bind /dev "$folder/dev"
mount -t tmpfs tmpfs "$folder/dev/shm"
echo "fresh-debian: system ready in $((SECONDS - began)) s, $(inside dpkg-query -W | wc -l) packages"
[ "$only_system" = 0 ] || exit 0

rm -rf "$folder/src/cascade"
mkdir -p "$folder/src"
git clone --quiet --no-hardlinks "$source_tree" "$folder/src/cascade"

status=0
summary=
for command in run test; do
  began=$SECONDS
  if inside bash -c "cd /src/cascade && make $command < /dev/null"; then
    verdict=PASS
  else
    verdict=FAIL
    status=1
  fi
  summary+="fresh-debian: make $command: $verdict ($((SECONDS - began)) s)"$'\n'
done
echo -n "$summary"
exit $status
