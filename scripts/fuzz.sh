#!/usr/bin/env bash
# Fuzzes what the store reads from clients, peers and disks, or what the API server reads from clients:
# the targets of store/fuzz or of api/fuzz, one after the other, each for a time, starting from the
# corpus that is kept there.
#
#     scripts/fuzz.sh                       every target of the store, for a minute each
#     scripts/fuzz.sh --api                 every target of the API server
#     scripts/fuzz.sh --time 600            for ten minutes each
#     scripts/fuzz.sh apply wal --time 60   these two
#     scripts/fuzz.sh --keep                and keep what was found to be worth it, in the corpus
#
# RocksDB is linked as it is and not watched: the decoders are ours.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

part=store
seconds=60
keep=
targets=()
while [ $# -gt 0 ]; do
    case $1 in
        --time) seconds=${2:?--time needs seconds} && shift ;;
        --keep) keep=yes ;;
        --api) part=api ;;
        -*) die "unknown option $1" ;;
        *) targets+=("$1") ;;
    esac
    shift
done

fuzz=$part/fuzz/cargo-fuzz
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(sed -n 's/^name = "\([a-z]*\)"$/\1/p' $fuzz/Cargo.toml)
for target in "${targets[@]}"; do
    [ -e "$fuzz/fuzz_targets/$target.rs" ] || die "there is no target $target"
done

scripts/build-tools.sh
cargo fuzz --version >/dev/null 2>&1 || {
    say "installing cargo-fuzz"
    cargo install cargo-fuzz --locked >&2
}
if [ $part = store ]; then
    environment=$(scripts/rocksdb.sh)
    set -a
    eval "$environment"
    set +a
fi
# A folder and a lock of their own: tests and other builds go on beside this.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$orlop_cache/target}/fuzz"
own_target

# The compiler's flags for coverage are not stable yet. Leaks are not looked for: clap's names are
# leaked on purpose, once for each command line.
export RUSTC_BOOTSTRAP=1 CARGO_INCREMENTAL=0
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_odr_violation=0:detect_leaks=0:abort_on_error=1}"
built=$CARGO_TARGET_DIR
# What is fuzzed is built of what is released.
cp Cargo.lock $fuzz/Cargo.lock
say "building the targets"
cargo fuzz build --fuzz-dir $fuzz --dev 9>&- >&2
host=$(rustc -vV | sed -n 's/^host: //p')
programs=$built/$host/debug

# One number out of a log of libFuzzer: the last that follows a word.
last() { grep -o "\b$1[: ]*[0-9]*" "$2" | tail -1 | grep -o '[0-9]*$' || true; }

# Replaces what is kept in folder $2 by the smallest files of $1, a hundred of them at most. What
# was a finding has a name, and stays.
keep() {
    find "$2" -type f ! -name 'found-*' -delete
    local bytes=0 file size
    while read -r size file; do
        bytes=$((bytes + size))
        [ $bytes -le 200000 ] || break
        cp "$file" "$2/"
    done < <(find "$1" -type f -printf '%s %p\n' | sort -n | head -n 100)
}

table=$(mktemp)
trap 'rm -f "$table"' EXIT
failed=0
for target in "${targets[@]}"; do
    work=$built/runs/$part/$target
    kept=$part/fuzz/corpus/$target
    mkdir -p "$work/corpus" "$work/found" "$kept"
    rm -f "$work"/log.* "$work"/found/*
    say "$target for $seconds s"
    began=$SECONDS executions=0 round=0
    # A finding ends the program: it is begun again for what is left of the time.
    while [ $((SECONDS - began)) -lt "$seconds" ] && [ $round -lt 20 ]; do
        log=$work/log.$round
        left=$((seconds - (SECONDS - began)))
        nice -n 19 "$programs/$target" -max_total_time=$left -rss_limit_mb=2048 -malloc_limit_mb=512 \
            -timeout=25 -max_len=16384 -len_control=20 -print_final_stats=1 \
            -artifact_prefix="$work/found/" "$work/corpus" "$kept" >"$log" 2>&1 9>&- || true
        executions=$((executions + $(last stat::number_of_executed_units "$log" | grep . || echo 0)))
        round=$((round + 1))
    done
    spent=$((SECONDS - began))
    findings=$(find "$work/found" -type f | wc -l)
    if [ -n "$keep" ]; then
        # The fewest inputs that reach what all of them reach.
        rm -rf "$work/merged"
        mkdir "$work/merged"
        "$programs/$target" -merge=1 -max_len=16384 "$work/merged" "$kept" "$work/corpus" \
            >"$work/log.merge" 2>&1 9>&- || true
        keep "$work/merged" "$kept"
    fi
    [ "$findings" = 0 ] || failed=1
    printf '%s %s %s %s %s %s %s %s\n' "$target" "$spent" "$executions" \
        $((executions / (spent > 0 ? spent : 1))) \
        "$(last cov "$work/log.0")" "$(last ft "$work/log.0")" \
        "$(find "$kept" -type f | wc -l)" "$findings" >>"$table"
    find "$work/found" -type f -printf "   found: %p\n" >&2
done
{
    echo "target seconds executions exec/s edges features kept findings"
    cat "$table"
} | column -t
exit $failed
