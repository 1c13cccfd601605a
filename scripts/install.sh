#!/usr/bin/env bash
# Installs what building (`build`) and running containers (`run`) need, and says what and why first.
#
# usage: scripts/install.sh build|run ...
# Where it may not install, it says what to install by hand: a missing build tool is an error,
# a missing container tool is not, because `orlop up` then falls back to the fake runtime.
set -euo pipefail

say() { printf 'install: %s\n' "$*" >&2; }
packages=()
reasons=()
want() {
  packages+=("$1")
  reasons+=("$1: $2")
}

for part in "$@"; do
  case $part in
    build)
      command -v c++ > /dev/null || want g++ "compiles and links RocksDB"
      command -v xz > /dev/null || want xz-utils "unpacks a kept RocksDB archive"
      # bindgen loads it at build time; any version from 5 on will do.
      if ! ldconfig -p 2> /dev/null | grep -q 'libclang[-.0-9]*\.so' \
        && ! ls /usr/lib/llvm-*/lib/libclang*.so* > /dev/null 2>&1 \
        && [ -z "${LIBCLANG_PATH:-}" ]; then
        want libclang-dev "reads RocksDB's header for the Rust bindings"
      fi
      ;;
    run)
      command -v containerd > /dev/null || want containerd "runs the pods' containers"
      command -v runc > /dev/null || want runc "starts each container"
      [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] \
        || want containernetworking-plugins "gives pods their network"
      [ -x /bin/busybox ] || command -v busybox > /dev/null \
        || want busybox-static "fills the sandbox image, since no registry is asked"
      command -v iptables > /dev/null || want iptables "masquerades what pods send outside"
      command -v ip > /dev/null || want iproute2 "shows and cleans network namespaces"
      ;;
    *)
      say "unknown part: $part (build or run)"
      exit 2
      ;;
  esac
done

[ ${#packages[@]} -gt 0 ] || exit 0

say "missing:"
for reason in "${reasons[@]}"; do say "  $reason"; done

if ! command -v apt-get > /dev/null; then
  refused="this machine has no apt-get"
elif [ "$(id -u)" -ne 0 ]; then
  refused="that needs root"
else
  refused=""
fi

if [ -z "$refused" ]; then
  say "installing: ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  if apt-get update -qq >&2 \
    && apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2; then
    exit 0
  fi
  refused="apt-get failed"
fi

say "cannot install them here: $refused"
say "install by hand (Debian and Ubuntu): sudo apt-get install --no-install-recommends ${packages[*]}"
case " $* " in
  *" build "*) exit 1 ;;
  *) say "going on without: orlop up will use the fake runtime unless they are there" ;;
esac
