#!/usr/bin/env bash
# All that must hold, in the order in which it is cheapest to learn that it does not: format, lints,
# docs, tests. The test runner's counts come last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

began=$SECONDS
scripts/build-tools.sh
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$orlop_cache/target}"
environment=$(scripts/rocksdb.sh)
set -a
eval "$environment"
set +a

# Tests that need kubectl or etcd skip themselves, loudly, when those cannot be had. On CI they must
# be there: a test that never runs protects nothing.
if peers=$(scripts/peers.sh); then
    export ORLOP_PEERS="$peers" ORLOP_ETCD="$peers/etcd" ORLOP_ETCDCTL="$peers/etcdctl" PATH="$peers:$PATH"
elif [ -n "${CI:-}" ]; then
    die "kubectl and etcd cannot be had, and CI must not skip what needs them"
else
    say "kubectl and etcd cannot be had: tests that need them are skipped and say so"
fi

step() {
    say "$* ($((SECONDS - began)) s so far)"
    "$@"
}

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --locked
# Some tests start the binary as a user would.
step cargo build --workspace --bins --locked
# nextest runs no documentation tests; its own counts are to come last.
if cargo nextest --version >/dev/null 2>&1; then
    step cargo test --workspace --doc --locked
    step cargo nextest run --workspace --locked --no-fail-fast
else
    step cargo test --workspace --locked --no-fail-fast
fi
say "all passed in $((SECONDS - began)) s"
