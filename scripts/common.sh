# What the scripts share: folders, words and ways to install. Sourced, never run.
# shellcheck shell=bash

orlop_cache="${XDG_CACHE_HOME:-$HOME/.cache}/orlop"

say() { printf '== %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Holds the lock NAME while COMMAND runs: two builds at once must not write the same cache.
with_lock() {
    local name=$1
    shift
    mkdir -p "$orlop_cache"
    if have flock; then
        (
            flock 9
            "$@"
        ) 9>"$orlop_cache/$name.lock"
    else
        "$@"
    fi
}

# may_install: whether Debian packages can be installed from here.
may_install() { [ "$(id -u)" = 0 ] && have apt-get; }

# install WHY PACKAGE...: installs Debian packages, saying which and why first.
# Answers false, having said what to do by hand, when it may not.
install() {
    local why=$1
    shift
    if ! may_install; then
        say "missing for $why: $*"
        say "install them by hand, on Debian or Ubuntu: sudo apt-get install $*"
        return 1
    fi
    say "installing $* (for $why)"
    export DEBIAN_FRONTEND=noninteractive
    # Package lists may be absent or old on a fresh machine: refresh them once when needed.
    apt-get install -y -qq --no-install-recommends "$@" >&2 ||
        { apt-get update -qq >&2 && apt-get install -y -qq --no-install-recommends "$@" >&2; }
}
