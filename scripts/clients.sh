#!/usr/bin/env bash
# Lets clients that others wrote use a store: Python's etcd3gw (the JSON gateway), npm's etcd3 and
# Rust's etcd-client (gRPC).
#
#   scripts/clients.sh HOST:PORT    any store that speaks etcd's v3 API: an etcd, or `orlop store`
#   scripts/clients.sh -- COMMAND   starts a member by this command on a folder of its own:
#                                   `-- orlop store`, or `-- etcd`
#
# The store must be empty and may be lost: users are made in it, and authentication is switched on for
# a moment. The packages come from their registries, into the user's cache folder.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

etcd3gw_package=etcd3gw==2.7.0
etcd3_package=etcd3@1.1.2
# Holds protoc, with which Rust's etcd-client compiles etcd's messages while it is built.
protoc_package=grpcio-tools==1.85.1
stories="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/clients"
# shellcheck disable=SC2154 # set in common.sh
folder="$orlop_cache/clients-${etcd3gw_package##*=}-${etcd3_package##*@}-${protoc_package##*=}"

provide() {
    if [ ! -e "$folder/whole" ]; then
        have python3 || die "python3 is needed for etcd3gw"
        have npm || die "npm is needed for etcd3"
        say "getting $etcd3gw_package and $etcd3_package"
        mkdir -p "$folder/npm"
        python3 -m pip install -q --root-user-action=ignore --target "$folder/python" \
            "$etcd3gw_package" "$protoc_package" >&2
        printf '#!/bin/sh\nPYTHONPATH="%s" exec python3 -m grpc_tools.protoc "$@"\n' "$folder/python" >"$folder/protoc"
        chmod +x "$folder/protoc"
        npm install --prefix "$folder/npm" --silent --no-audit --no-fund "$etcd3_package" >&2
        touch "$folder/whole"
    fi
    say "building the story of Rust's etcd-client"
    PROTOC="$folder/protoc" CARGO_TARGET_DIR="$folder/rust" \
        cargo build -q --locked --manifest-path "$stories/etcd_client/Cargo.toml" >&2
}

# Starts a member, and sets `store` to where its clients go.
start() {
    local port peer scratch
    read -r port peer < <(python3 -c '
import socket
ports = [socket.socket() for _ in range(2)]
for port in ports:
    port.bind(("127.0.0.1", 0))
print(*(port.getsockname()[1] for port in ports))')
    store=127.0.0.1:$port
    scratch=$(mktemp -d)
    say "starting $*"
    "$@" --data-dir "$scratch/data" \
        --listen-client-urls "http://$store" --advertise-client-urls "http://$store" \
        --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
        --initial-cluster "default=http://127.0.0.1:$peer" >"$scratch/log" 2>&1 &
    # shellcheck disable=SC2064 # the process and the folder of now are meant
    trap "kill $! 2>/dev/null; wait $! 2>/dev/null || true; rm -rf '$scratch'" EXIT
    local deadline=$((SECONDS + 30))
    until python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=1)' \
        "http://$store/health" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || die "it does not serve: $(tail -n 5 "$scratch/log")"
        sleep 0.1
    done
}

[ $# -ge 1 ] || die "say where the store is, or how to start one: see the top of scripts/clients.sh"
with_lock clients provide
if [ "$1" = -- ]; then
    shift
    start "$@"
else
    store=$1
fi
export PYTHONDONTWRITEBYTECODE=1
PYTHONPATH="$folder/python" timeout 120 python3 "$stories/etcd3gw_story.py" "${store%:*}" "${store##*:}"
NODE_PATH="$folder/npm/node_modules" timeout 120 node "$stories/etcd3_story.js" "$store"
timeout 120 "$folder/rust/debug/etcd-client-story" "$store"
