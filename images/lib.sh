# shellcheck shell=bash
# The step machinery: logging, cache, locks. Sourced by build.sh and smoke.sh.
#
# This file is not part of any cache key; what shapes an output belongs into
# a step or into recipes/.

IMAGES_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO_DIR=$(dirname "$IMAGES_DIR")
BUILD_DIR=$REPO_DIR/build
CACHE_DIR=${ARCBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/arcbox}/guest
export IMAGES_DIR REPO_DIR BUILD_DIR CACHE_DIR

# A step that takes long says every so many seconds how far it is.
PROGRESS_SECONDS=15
# Longer than the slowest step takes on a slow machine.
LOCK_SECONDS=7200

say() { printf 'guest: %s\n' "$*"; }
die() {
    printf 'guest: error: %s\n' "$*" >&2
    exit 1
}

# The asset set's name of this machine's architecture.
guest_arch() {
    case $(uname -m) in
    x86_64) echo x86_64 ;;
    aarch64 | arm64) die "building the guest for arm64 is not supported: the kernel configuration is for x86_64 only" ;;
    *) die "building the guest on $(uname -m) is not supported: an x86_64 machine is needed" ;;
    esac
}

# The Go that is installed counts, asked outside of the module: the guest is
# built with it and not with one that go.mod makes it download.
require_go() {
    local have least
    least=$(sed -n 's/^go //p' "$REPO_DIR/go.mod")
    command -v go >/dev/null || die "go is not in the PATH: install Go $least or newer"
    have=$(cd / && GOTOOLCHAIN=local go env GOVERSION)
    printf 'go%s\n%s\n' "$least" "$have" | sort -CV || die "the go in the PATH is $have: install Go $least or newer"
}

# Loads one step in the current (sub)shell. A step is a file that sets
#   STEP_VARS   keys of versions.env that it reads
#   STEP_FILES  files below images/ that it reads, beside its own
#   STEP_RESUME "yes" if a work directory that was left half-done may go on
# and defines
#   step_tools       prints the versions of the tools that shape its output
#   step_build WORK  builds in WORK; what it leaves in WORK/out is the result
load_step() {
    local file=$IMAGES_DIR/steps/$1.sh
    [[ -f $file ]] || die "no such step: $1 (steps: $(list_steps))"
    STEP_VARS=() STEP_FILES=() STEP_RESUME=no
    step_tools() { :; }
    # shellcheck source=/dev/null
    source "$file"
}

list_steps() { (cd "$IMAGES_DIR/steps" && printf '%s ' *.sh | sed 's/\.sh//g; s/ $//'); }

# Prints the key of the loaded step: a hash of its recipe and all its inputs.
step_key() {
    local v f
    {
        printf 'step %s\narch %s\n' "$1" "$(guest_arch)"
        for v in "${STEP_VARS[@]}"; do printf 'var %s=%s\n' "$v" "${!v-}"; done
        (
            cd "$IMAGES_DIR"
            for f in "steps/$1.sh" "${STEP_FILES[@]}"; do
                # A folder counts with everything in it, in a fixed order.
                find "$f" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum || exit 1
            done
        ) || exit 1
        step_tools
    } | sha256sum | cut -c1-16
}

# Prints the directory that holds a step's result (whether or not it exists).
step_dir() (
    load_step "$1"
    key=$(step_key "$1") || die "$1: cannot tell its inputs apart (a tool or file is missing, see above; images/deps.sh installs the tools)"
    echo "$CACHE_DIR/$1-$key"
)

# Makes a step's result exist. Results appear by rename, so a directory that is
# there is complete; the lock lets one of two clones build and the other reuse.
run_step() (
    local name=$1 dir work log start reporter rc=0
    load_step "$name"
    dir=$(step_dir "$name")
    if reuse "$name" "$dir"; then return 0; fi
    mkdir -p "$CACHE_DIR"
    work=$CACHE_DIR/$name.work
    log=$CACHE_DIR/$name.log
    lock_step "$name" "$log"
    if reuse "$name" "$dir"; then return 0; fi
    # Ctrl-C reaches the step's programs as well, and some of them end normally
    # then: whatever they report, nothing of an interrupted run is kept.
    trap 'say "$name: interrupted"; exit 130' INT
    trap 'say "$name: ended from outside"; exit 143' TERM HUP

    # A directory that an interrupted build left behind goes on only if the
    # inputs are still the same and the step can tell what is finished.
    if [[ $STEP_RESUME != yes || $(cat "$work/key" 2>/dev/null || true) != "${dir##*-}" ]]; then
        remove_tree "$work"
    fi
    mkdir -p "$work"
    echo "${dir##*-}" >"$work/key"
    rm -rf "$work/out"
    mkdir "$work/out"
    say "$name: building (log: $log)"
    start=$SECONDS
    : >"$log"
    exec 7> >(exec 9>&-; report_progress "$name" "$log")
    reporter=$!
    # Not `if step_build`: that would switch off errexit inside it. The children
    # keep the lock's descriptor: should they outlive this shell, the next run
    # has to wait for them rather than build in the same directory.
    (
        set +e
        (
            set -euo pipefail
            step_build "$work"
        ) >"$log" 2>&1 7>&-
        echo $? >"$work/rc"
    ) 7>&-
    exec 7>&-
    wait "$reporter" || true
    rc=$(cat "$work/rc")
    if [[ $rc != 0 ]]; then
        tail -n 30 "$log" >&2
        die "$name: failed (exit $rc), the whole log is $log"
    fi
    # What a step wants to be seen, it prints after "note: ".
    sed -n "s/^note: /guest: $name: /p" "$log"
    mv -T "$work/out" "$dir"
    remove_tree "$work"
    # What nobody has asked for in a month goes, and what killed builds left.
    find "$CACHE_DIR" -maxdepth 1 -name 'debs.??????' -mmin +600 -exec rm -rf {} +
    find "$CACHE_DIR" -maxdepth 1 -type d -name "$name-????????????????" -mtime +30 -exec rm -rf {} +
    say "$name: built in $((SECONDS - start)) s"
)

# lock_step NAME LOG takes the step's lock on descriptor 9. Whoever else builds
# the step writes LOG, which is what there is to show while waiting.
lock_step() {
    local waited=0
    exec 9>"$CACHE_DIR/$1.lock"
    flock -n 9 && return 0
    say "$1: waiting for another build of it"
    until flock -w "$PROGRESS_SECONDS" 9; do
        ((waited += PROGRESS_SECONDS))
        ((waited < LOCK_SECONDS)) || die "$1: another build of it has not ended within $LOCK_SECONDS s, its log is $2"
        say "$1: waiting, $waited s: $(progress_of "$2")"
    done
}

# report_progress NAME LOG prints a line now and then, until its input ends: the
# other end of that pipe is with the shell that runs the step, so this ends with
# it however it ends.
report_progress() {
    local start=$SECONDS rc
    while :; do
        rc=0
        read -rt "$PROGRESS_SECONDS" _ || rc=$?
        ((rc > 128)) || return 0
        say "$1: $((SECONDS - start)) s: $(progress_of "$2")"
    done
}

# progress_of LOG sums a build up: how many objects (the kernel's make) or
# packages (Go) it has named so far, and its last line.
progress_of() {
    LC_ALL=C awk '
        /^  (CC|AS|AR|LD|HOSTCC|HOSTLD) / { objects++ }
        /^[a-z][a-zA-Z0-9._~-]*(\/[a-zA-Z0-9._~-]+)*$/ { packages++ }
        NF { gsub(/[[:space:]]+/, " "); sub(/^ /, ""); last = $0 }
        END {
            if (objects) printf "%d objects, ", objects
            else if (packages) printf "%d packages, ", packages
            print "now " (last == "" ? "starting" : substr(last, 1, 90))
        }' "$1" 2>/dev/null || echo "no log yet"
}

# reuse NAME DIR succeeds if the result is there, and marks it as in use.
reuse() {
    [[ -d $2 ]] || return 1
    touch "$2"
    say "$1: reused"
}

# Go makes its module directories read-only, hence the chmod.
remove_tree() {
    [[ -e $1 ]] || return 0
    chmod -R u+w "$1" 2>/dev/null || true
    rm -rf "$1"
}

# Free space, in whole GB, where PATH is or is going to be.
free_gb() {
    local path=$1
    while [[ ! -e $path ]]; do path=$(dirname "$path"); done
    df -B1000000000 --output=avail "$path" | awk 'NR == 2 { print $1 }'
}
