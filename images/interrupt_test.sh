#!/usr/bin/env bash
# Interrupts builds of real steps, as Ctrl-C does, a little later each time, in a
# cache of its own; then lets them finish, and compares with the results of the
# ordinary cache. Some minutes: the kernel is not built to the end, only shown to
# go on where it was.
#
# What a step of any kind does when interrupted is tested by `go test ./images`.
set -euo pipefail

# shellcheck source=images/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STEPS=(init rootfs images docker-cli)
# Seconds into each step after which it is interrupted, one run each.
MOMENTS=(0.1 1 4)

main() {
    local reference=$CACHE_DIR moment name
    "$IMAGES_DIR/build.sh" step "${STEPS[@]}" kernel
    export ARCBOX_CACHE
    ARCBOX_CACHE=$(mktemp -d)
    CACHE_DIR=$ARCBOX_CACHE/guest
    trap 'remove_tree "$ARCBOX_CACHE"' EXIT

    for name in "${STEPS[@]}"; do
        for moment in "${MOMENTS[@]}"; do
            interrupt "within $name $moment" "${STEPS[@]}"
            check "$reference"
        done
    done
    "$IMAGES_DIR/build.sh" step "${STEPS[@]}"
    check "$reference"
    for name in "${STEPS[@]}"; do
        compgen -G "$CACHE_DIR/$name-????????????????" >/dev/null || die "$name has no result after a whole build"
    done
    kernel
    say "interrupted $((${#STEPS[@]} * ${#MOMENTS[@]})) times and in the kernel, nothing half was kept, and the whole is the same"
}

# interrupt "MOMENT" STEP... builds and sends the whole process group, as a
# terminal does, an interrupt when the command MOMENT returns.
interrupt() {
    local moment=$1 status=0 pid
    shift
    # With job control a background job is a process group of its own, and does
    # not ignore the interrupt.
    : >"$ARCBOX_CACHE/run.log"
    set -m
    "$IMAGES_DIR/build.sh" step "$@" >"$ARCBOX_CACHE/run.log" 2>&1 &
    pid=$!
    set +m
    $moment "$pid"
    kill -INT -- "-$pid" 2>/dev/null || true
    wait "$pid" || status=$?
    say "$moment: exit status $status, $(tail -n 1 "$ARCBOX_CACHE/run.log")"
    ((status == 130 || status == 0)) || die "a build that was interrupted ended with $status: $(cat "$ARCBOX_CACHE/run.log")"
}

# within STEP SECONDS PID waits until the run has been building the step for so
# long, or has it behind it.
# shellcheck disable=SC2317 # called by its name in a variable
within() {
    local deadline=$((SECONDS + 600))
    until grep -qE "^guest: $1: (building|reused|built)" "$ARCBOX_CACHE/run.log"; do
        kill -0 "$3" 2>/dev/null || return 0
        ((SECONDS < deadline)) || die "the build has not come to $1 in 600 s: $(cat "$ARCBOX_CACHE/run.log")"
        sleep 0.1
    done
    sleep "$2"
}

# compiled COUNT PID waits until the run has compiled that many of the kernel.
# shellcheck disable=SC2317 # called by its name in a variable
compiled() {
    local deadline=$((SECONDS + 1800))
    until (($(grep -cE '^  (CC|AS) ' "$CACHE_DIR/kernel.log" 2>/dev/null || true) >= $1)); do
        kill -0 "$2" 2>/dev/null || die "the kernel's build ended: $(tail -n 5 "$CACHE_DIR/kernel.log")"
        ((SECONDS < deadline)) || die "the kernel's build has not come to $1 objects in 1800 s: $(tail -n 5 "$CACHE_DIR/kernel.log")"
        sleep 0.5
    done
}

# check REFERENCE fails unless every result that is there is a whole one.
check() {
    local dir
    for dir in "$CACHE_DIR"/*-????????????????/; do
        [[ ! -d $dir ]] || diff -r "$dir" "$1/$(basename "$dir")" || die "$(basename "$dir") is not what the whole build gave"
    done
}

# The kernel: interrupted while it is unpacked, then twice in the compiler.
kernel() {
    local work=$CACHE_DIR/kernel.work before after
    interrupt "within kernel 3" kernel
    interrupt "compiled 100" kernel
    before=$(objects "$work")
    : >"$CACHE_DIR/kernel.log"
    interrupt "compiled 60" kernel
    after=$(objects "$work")
    if compgen -G "$CACHE_DIR/kernel-????????????????" >/dev/null; then die "the kernel has a result without having been built"; fi
    [[ -n $before && $after == "$before"* ]] || die "the kernel began again: of $(wc -l <<<"$before") objects the first were compiled anew"
    say "kernel: $(wc -l <<<"$before") objects after the first run, $(wc -l <<<"$after") after the second, none of them twice"
}

# objects WORK lists what is compiled, in the order of compilation.
objects() { find "$1/src" -name '*.o' -printf '%T@ %P\n' | sort -n; }

main "$@"; exit
