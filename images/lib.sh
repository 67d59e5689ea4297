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
    local name=$1 dir work log start rc=0
    load_step "$name"
    dir=$(step_dir "$name")
    if reuse "$name" "$dir"; then return 0; fi
    mkdir -p "$CACHE_DIR"
    exec 9>"$CACHE_DIR/$name.lock"
    if ! flock -n 9; then
        say "$name: waiting for another build of it"
        flock 9
    fi
    if reuse "$name" "$dir"; then return 0; fi

    work=$CACHE_DIR/$name.work
    log=$CACHE_DIR/$name.log
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
    # Not `if step_build`: that would switch off errexit inside it. The lock's
    # descriptor is closed so that no left-over child can keep the lock.
    (
        set +e
        (
            set -euo pipefail
            step_build "$work"
        ) >"$log" 2>&1 9>&-
        echo $? >"$work/rc"
    )
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
