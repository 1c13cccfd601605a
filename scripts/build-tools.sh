#!/usr/bin/env bash
# Makes sure that what a build needs is there: Rust, a C++ compiler, and libclang for the RocksDB
# bindings. Installs the last by itself where it may.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

libclang_is_there() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    # Not libclang-cpp, which other packages bring and which is another library.
    if ldconfig -p 2>/dev/null | grep -q 'libclang[-.0-9]*\.so'; then return 0; fi
    compgen -G '/usr/lib/llvm-*/lib/libclang[-.][0-9s]*' >/dev/null
}

have cargo || die "cargo is not on the PATH: install Rust (rustup), version in rust-toolchain or Cargo.toml's rust-version"
if ! have c++ && ! have g++ && ! have clang++; then
    install "the C++ compiler that builds RocksDB" g++ || exit 1
fi
if ! libclang_is_there; then
    install "libclang, which reads RocksDB's header for the bindings" libclang-dev || exit 1
fi
