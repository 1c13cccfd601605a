#!/usr/bin/env bash
# Clients of the Kubernetes API that others wrote in Python: kubernetes and kr8s.
#
# Prints the path of a Python that has them. They come from the Python registry, in these versions,
# into the user's cache folder. Fails when they cannot be had.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

kubernetes_package=kubernetes==36.0.3
kr8s_package=kr8s==0.20.15
# shellcheck disable=SC2154 # set in common.sh
folder="$orlop_cache/python-clients-${kubernetes_package##*=}-${kr8s_package##*=}"

complete() { [ -x "$folder/python" ] && "$folder/python" -c 'import kubernetes, kr8s' >/dev/null 2>&1; }

provide() {
    complete && return 0
    have python3 || die "python3 is needed for the clients in Python: install python3 and python3-pip"
    python3 -m pip --version >/dev/null 2>&1 ||
        install "pip, which gets clients in Python for the tests" python3-pip || exit 1
    say "getting $kubernetes_package and $kr8s_package for the tests"
    rm -rf "$folder"
    mkdir -p "$folder"
    python3 -m pip install -q --root-user-action=ignore --no-warn-conflicts --only-binary=:all: --target "$folder/packages" \
        "$kubernetes_package" "$kr8s_package" >&2
    printf '#!/bin/sh\nPYTHONPATH="%s" exec python3 "$@"\n' "$folder/packages" >"$folder/python"
    chmod +x "$folder/python"
    complete || die "the clients in Python do not run on this machine: see $folder"
}

with_lock python-clients provide
printf '%s\n' "$folder/python"
