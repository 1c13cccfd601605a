#!/usr/bin/env bash
# Lets clients that others wrote use a store: Python's etcd3gw (the JSON gateway) and npm's etcd3 (gRPC).
#
#   scripts/clients.sh HOST:PORT
#
# Any store that speaks etcd's v3 API will do: an etcd, or `orlop store`. It must be empty and may be
# lost: users are made in it, and authentication is switched on for a moment. The packages come from
# their registries, into the user's cache folder.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

etcd3gw_package=etcd3gw==2.7.0
etcd3_package=etcd3@1.1.2
# shellcheck disable=SC2154 # set in common.sh
folder="$orlop_cache/clients-${etcd3gw_package##*=}-${etcd3_package##*@}"
stories="$(dirname "${BASH_SOURCE[0]}")/clients"

[ $# = 1 ] || die "say where the store is: scripts/clients.sh HOST:PORT"

provide() {
    [ -e "$folder/whole" ] && return
    have python3 || die "python3 is needed for etcd3gw"
    have npm || die "npm is needed for etcd3"
    say "getting $etcd3gw_package and $etcd3_package"
    mkdir -p "$folder/npm"
    python3 -m pip install -q --target "$folder/python" "$etcd3gw_package" >&2
    npm install --prefix "$folder/npm" --silent --no-audit --no-fund "$etcd3_package" >&2
    touch "$folder/whole"
}

with_lock clients provide
PYTHONPATH="$folder/python" timeout 120 python3 "$stories/etcd3gw_story.py" "${1%:*}" "${1##*:}"
NODE_PATH="$folder/npm/node_modules" timeout 120 node "$stories/etcd3_story.js" "$1"
