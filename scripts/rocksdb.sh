#!/usr/bin/env bash
# One build of RocksDB serves every profile and every clone.
#
# Prints two lines of environment for cargo:
#     ROCKSDB_LIB_DIR=...   ROCKSDB_STATIC=1
#
# The archive is kept in the user's cache folder, named after the version that Cargo.lock pins. When
# it is not there it comes from a prebuilt archive beside the clone if one fits, else it is compiled
# once from the pinned crate (about 15 minutes on two cores).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

# `librocksdb-sys` is versioned BINDINGS+ROCKSDB.
version=$(awk '/^name = "librocksdb-sys"$/ { getline; gsub(/"/, "", $3); print $3; exit }' Cargo.lock)
[ -n "$version" ] || die "Cargo.lock names no librocksdb-sys"
rocksdb=${version#*+}
triple=$(rustc -vV | sed -n 's/^host: //p')
[ -n "$triple" ] || die "rustc does not say for what it builds"

folder="$orlop_cache/rocksdb-$rocksdb-lz4-$triple"
archive="$folder/librocksdb.a"

take_prebuilt() {
    # Named LIBRARY-VERSION-FEATURES-PLATFORM, without the vendor in the platform.
    local prebuilt="../shared/cache/librocksdb-$rocksdb-lz4-${triple/-unknown-/-}.a.xz"
    [ -r "$prebuilt" ] && have xz || return 1
    say "RocksDB $rocksdb: taking the prebuilt archive beside this clone"
    xz -dc "$prebuilt" >"$archive.$$"
}

compile() {
    local target="$orlop_cache/rocksdb-build" built
    say "RocksDB $rocksdb: compiling it once, for every profile (about 15 minutes on two cores)"
    # With its own target folder, so that it is never thrown away with other builds.
    env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CARGO_TARGET_DIR="$target" \
        cargo build --release --locked -p librocksdb-sys >&2
    built=$(find "$target/release/build" -path '*librocksdb-sys-*/out/librocksdb.a' -printf '%T@ %p\n' |
        sort -rn | head -n 1 | cut -d' ' -f2-)
    [ -n "$built" ] || die "the build of librocksdb-sys left no librocksdb.a"
    cp "$built" "$archive.$$"
}

provide() {
    # Somebody may have made it while this waited for the lock.
    [ -s "$archive" ] && return 0
    mkdir -p "$folder"
    take_prebuilt || compile
    # A whole archive or none: a build that is cut short must not leave half of one.
    mv "$archive.$$" "$archive"
    rm -rf "$orlop_cache/rocksdb-build"
}

[ -s "$archive" ] || with_lock rocksdb provide
printf 'ROCKSDB_LIB_DIR=%s\nROCKSDB_STATIC=1\n' "$folder"
