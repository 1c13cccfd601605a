#!/usr/bin/env bash
# Makes sure that what real containers need is there: containerd, runc, the CNI plugins, and a
# static busybox for the image that the tour runs. Without them everything else still works, on the
# fake runtime: so this never fails, it says what is missing.
#
#     scripts/containers.sh          installs what is missing
#     scripts/containers.sh check    installs and says nothing; true when containers can run here
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

PATH=$PATH:/usr/sbin:/sbin
missing=()
find_missing() {
    have containerd || missing+=(containerd)
    have runc || missing+=(runc)
    [ -x /opt/cni/bin/bridge ] || [ -x /usr/lib/cni/bridge ] ||
        missing+=(containernetworking-plugins)
    # The plugins set up address translation with one of these.
    have iptables || missing+=(iptables)
    # Not for containers: it sets up the hosts of the chaos tests, which must not skip where these run.
    have ip || missing+=(iproute2)
    # Nor this: it gives the members of the chaos tests clocks that jump.
    compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
    static_busybox || missing+=(busybox-static)
}

static_busybox() {
    local program
    for program in /bin/busybox /usr/bin/busybox /bin/busybox-static; do
        [ -x "$program" ] && ! ldd "$program" >/dev/null 2>&1 && return 0
    done
    return 1
}

# Whether a cgroup of memory can be made, whatever the version of cgroups.
can_group() {
    local root=/sys/fs/cgroup group
    [ -d "$root/memory" ] && root=$root/memory
    group=$root/orlop-check-$$
    mkdir "$group" 2>/dev/null && rmdir "$group"
}

if [ "${1:-}" = check ]; then
    [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] && find_missing &&
        [ ${#missing[@]} -eq 0 ] && can_group
    exit
fi

if [ "$(uname -s)" != Linux ]; then
    say "containers need Linux: pods will only be acted out (fake runtime)"
    exit 0
fi
find_missing
[ ${#missing[@]} -eq 0 ] && exit 0
install "real containers" "${missing[@]}" ||
    say "going on without: pods will only be acted out (fake runtime)"
