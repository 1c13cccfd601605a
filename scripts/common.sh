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
            "$@" 9>&-
        ) 9>"$orlop_cache/$name.lock"
    else
        "$@"
    fi
}

# Makes cargo's target folder this clone's until the process ends; run everything after it with
# `9>&-`, so that nothing that outlives it keeps the lock.
#
# Clones share the folder, and cargo knows the sources of a clone from those of another by their age
# alone: what another one built later than this was checked out would count as up to date. So whoever
# did not build last makes the sources new. Tests hold it too: they start the binary in it.
own_target() {
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$orlop_cache/target}"
    mkdir -p "$CARGO_TARGET_DIR"
    if have flock; then
        exec 9>"$CARGO_TARGET_DIR/clone.lock"
        if ! flock -n 9; then
            say "waiting: another clone builds or tests in $CARGO_TARGET_DIR"
            flock 9
        fi
    fi
    local last=$CARGO_TARGET_DIR/built-from
    [ "$(cat "$last" 2>/dev/null)" = "$PWD" ] && return
    find . \( -name .git -o -name target -o -name .orlop \) -prune -o -type f -print0 |
        xargs -0 touch -c --
    printf '%s\n' "$PWD" >"$last"
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
    apt-get install -y -qq --no-install-recommends "$@" >&2 && return
    if apt-get update -qq >&2 && apt-get install -y -qq --no-install-recommends "$@" >&2; then
        return
    fi
    say "that failed (see above); once the packages can be had: sudo apt-get install $*"
    return 1
}
