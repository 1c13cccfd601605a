#!/usr/bin/env bash
# One build of RocksDB for every profile and checkout: compiled once, kept in the user's cache folder.
#
# Prints the two lines that point the rocksdb crate at it, for `eval`; talk goes to standard error.
# Where the archive comes from, in this order: the cache; an archive left beside the checkout
# (../shared/cache); a compile of the pinned crate, about 15 minutes on two cores.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
say() { printf 'rocksdb: %s\n' "$*" >&2; }

# The lock file says "0.17.0+11.8.1"-like versions: the part after the plus is RocksDB's own.
crate=$(awk '/^name = "librocksdb-sys"$/ { getline; gsub(/version = |"/, ""); print }' "$top/Cargo.lock")
version=${crate#*+}
if [ -z "$version" ]; then
  say "Cargo.lock does not name librocksdb-sys"
  exit 1
fi
target=$(rustc -vV | sed -n 's/^host: //p')
name="librocksdb-$version-lz4-$target"
home=${ORLOP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orlop}
dir="$home/$name"
archive="$dir/librocksdb.a"

build() {
  local scratch out
  scratch="$home/$name-build"
  say "compiling RocksDB $version once (about 15 minutes on two cores); later builds reuse it"
  env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CARGO_TARGET_DIR="$scratch" \
    cargo build --locked --release --manifest-path "$top/Cargo.toml" -p librocksdb-sys >&2
  out=$(find "$scratch/release/build" -path '*/librocksdb-sys-*/out/librocksdb.a' | head -n 1)
  if [ -z "$out" ]; then
    say "the build left no librocksdb.a under $scratch"
    exit 1
  fi
  cp "$out" "$archive.new"
  rm -rf "$scratch"
}

mkdir -p "$dir"
# Two builds at once would only slow each other down: the second waits and finds the archive.
exec 9> "$dir/lock"
flock 9
if [ ! -s "$archive" ]; then
  # Kept archives are named by the short target: x86_64-linux-gnu for x86_64-unknown-linux-gnu.
  kept="$top/../shared/cache/librocksdb-$version-lz4-${target/-unknown/}.a.xz"
  if [ -r "$kept" ] && command -v xz > /dev/null; then
    say "unpacking the archive kept beside the checkout"
    xz -dc "$kept" > "$archive.new"
  else
    build
  fi
  mv "$archive.new" "$archive"
fi
printf 'export ROCKSDB_LIB_DIR=%q\nexport ROCKSDB_STATIC=1\n' "$dir"
