#!/usr/bin/env bash
# Builds the release binary, getting what a build needs first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
. scripts/common.sh

scripts/build-tools.sh
environment=$(scripts/rocksdb.sh)
set -a
eval "$environment"
set +a
own_target
cargo build --release --locked -p cli 9>&-
say "built $CARGO_TARGET_DIR/release/orlop"
