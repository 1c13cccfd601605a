#!/usr/bin/env bash
# All that must hold, in the order in which it is cheapest to learn that it does not: format, lints,
# docs, tests. The test runner's counts come last, and then what it cannot know: the tests that
# skipped themselves, which it calls passed.
#
#     scripts/test.sh             everything
#     scripts/test.sh only ...    only the tests that these arguments of cargo choose
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

began=$SECONDS
scripts/build-tools.sh
environment=$(scripts/rocksdb.sh)
set -a
eval "$environment"
set +a

# Tests that need kubectl or etcd skip themselves when those cannot be had. On CI they must be there:
# a test that never runs protects nothing.
if peers=$(scripts/peers.sh); then
    export ORLOP_PEERS="$peers" ORLOP_ETCD="$peers/etcd" ORLOP_ETCDCTL="$peers/etcdctl" PATH="$peers:$PATH"
elif [ -n "${CI:-}" ]; then
    die "kubectl and etcd cannot be had, and CI must not skip what needs them"
else
    say "kubectl and etcd cannot be had: tests that need them skip themselves"
fi

if python=$(scripts/python-clients.sh); then
    export ORLOP_PYTHON="$python"
elif [ -n "${CI:-}" ]; then
    die "clients in Python cannot be had, and CI must not skip what needs them"
else
    say "clients in Python cannot be had: tests that need them skip themselves"
fi

# What failed is told by its message; backtraces of asynchronous code bury it (ORLOP_BACKTRACE=1: with them).
export RUST_BACKTRACE="${ORLOP_BACKTRACE:-0}"

own_target
step() {
    say "$* ($((SECONDS - began)) s so far)"
    "$@" 9>&-
}

# Tests that skip themselves append a line each.
ORLOP_SKIPS=$(mktemp)
export ORLOP_SKIPS
trap 'rm -f "$ORLOP_SKIPS"' EXIT

report_skips() {
    local count
    count=$(wc -l <"$ORLOP_SKIPS")
    if [ "$count" = 0 ]; then
        say "no test skipped itself"
        return
    fi
    say "$count tests are counted as passed, but skipped themselves:"
    sort "$ORLOP_SKIPS" | sed 's/^/   /' >&2
    # What is missing of `make test`'s own tools fails on CI at once. What is left is the machine's
    # fault, unless the machine is found to be able.
    if [ -n "${CI:-}" ] && scripts/containers.sh check; then
        say "error: this machine can run containers, so on CI nothing may skip itself"
        return 1
    fi
}

run_tests() {
    local result=0
    if cargo nextest --version >/dev/null 2>&1; then
        step cargo nextest run "$@" --locked --no-fail-fast || result=$?
    else
        step cargo test "$@" --locked --no-fail-fast || result=$?
    fi
    report_skips || result=1
    return "$result"
}

# The simulator is built apart, and optimized: what it turns on in other crates is to be in no binary
# that the other tests start.
run_simulations() {
    if cargo nextest --version >/dev/null 2>&1; then
        step cargo nextest run -p chaos-sim --features sim --cargo-profile sim --locked --no-fail-fast
    else
        step cargo test -p chaos-sim --features sim --profile sim --locked --no-fail-fast
    fi
}

if [ "${1:-}" = only ]; then
    shift
    # Some tests start the binary as a user would, and refuse an old one.
    step cargo build -p cli --locked
    run_tests "$@"
    exit
fi

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --features chaos-sim/sim --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --features chaos-sim/sim --locked
# Some tests start the binary as a user would.
step cargo build --workspace --bins --locked
# nextest runs no documentation tests; its own counts are to come last.
if cargo nextest --version >/dev/null 2>&1; then
    step cargo test --workspace --doc --locked
fi
failed=0
run_simulations || failed=1
run_tests --workspace || failed=1
[ "$failed" = 0 ] || die "not all tests passed"
say "all passed in $((SECONDS - began)) s"
