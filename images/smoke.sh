#!/usr/bin/env bash
# Boots the guest's kernel and root under emulation, as the daemon does but with
# nothing of the daemon. For whoever debugs a guest that does not boot.
#
#   smoke.sh            boot to the agent and power off; then once with an agent
#                       that cannot run and once without a runtime disk, which
#                       must each end in one clear line
#   smoke.sh kernel     use the kernel features that containers need
#   smoke.sh engine     run containerd and dockerd and containers (minutes)
#   smoke.sh soak       two minutes of traffic while hooks come and go, which ends
#                       in a panic if the kernel patches its own text
#   smoke.sh shell      boot to a shell on this terminal (Ctrl-A X ends it): the
#                       init's debug console, beside a stand-in for the agent
#
# The console goes to build/smoke/console.log as well. SMOKE_APPEND adds words to
# the kernel command line, SMOKE_CPUS and SMOKE_MEMORY (in MiB) size the machine.
set -euo pipefail

# shellcheck source=images/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
set -a
# shellcheck source=images/versions.env
source "$IMAGES_DIR/versions.env"
set +a

WORK=$BUILD_DIR/smoke
CONSOLE=$WORK/console.log

main() {
    mkdir -p "$WORK"
    case ${1-boot} in
    boot)
        runtime_disk
        boot 120 "$WORK/runtime.erofs"
        expect "arcbox-smoke: agent runs as process 1"
        chmod -x "$WORK/runtime/bin/arcbox-agent"
        pack_runtime
        boot 120 "$WORK/runtime.erofs"
        expect "arcbox-init: /arcbox/bin/arcbox-agent is not executable"
        boot 120 ""
        expect "arcbox-init: the runtime disk /dev/vdc is missing"
        ;;
    kernel)
        runtime_disk "$IMAGES_DIR/smoke/kernel.sh"
        boot 300 "$WORK/runtime.erofs"
        expect "arcbox-smoke: test passed"
        ;;
    engine)
        runtime_disk "$IMAGES_DIR/smoke/engine.sh"
        boot 1200 "$WORK/runtime.erofs"
        expect "arcbox-smoke: test passed"
        ;;
    soak)
        runtime_disk "$IMAGES_DIR/smoke/soak.sh"
        boot 400 "$WORK/runtime.erofs"
        expect "arcbox-smoke: test passed"
        ;;
    shell)
        [[ -t 0 ]] || die "a shell needs a terminal"
        printf 'while :; do sleep 3600; done\n' >"$WORK/shell.sh"
        runtime_disk "$WORK/shell.sh"
        SMOKE_APPEND="arcbox.debug_console${SMOKE_APPEND:+ $SMOKE_APPEND}"
        say "Ctrl-A X ends the machine"
        boot 86400 "$WORK/runtime.erofs" interactive
        ;;
    *) die "usage: images/smoke.sh [boot | kernel | engine | soak | shell]" ;;
    esac
}

# result STEP prints where a step's result is.
result() {
    local dir
    dir=$(step_dir "$1")
    [[ -d $dir ]] || die "$1 is not built: run \`images/build.sh step $1\` first"
    echo "$dir"
}

# runtime_disk [SCRIPT] packs a runtime disk with the stand-in for the agent and
# the script that it is to run, and for engine.sh all that this one needs.
runtime_disk() {
    local root=$WORK/runtime f
    rm -rf "$root"
    mkdir -p "$root"/{bin,test,runtime/bin}
    (cd "$REPO_DIR" && CGO_ENABLED=0 GOOS=linux go build -trimpath -o "$root/bin/arcbox-agent" ./images/smoke/agent)
    if [[ -n ${1-} ]]; then install -m 0755 "$1" "$root/test/run.sh"; fi
    if [[ ${1-} == */engine.sh ]]; then
        for f in containerd dockerd runc init; do cp "$(result "$f")"/* "$root/runtime/bin/"; done
        rm -f "$root/runtime/bin/debs.txt"
        cp "$(result docker-cli)/docker" "$(result images)"/*.tar "$root/test/"
    fi
    pack_runtime
}

pack_runtime() {
    rm -f "$WORK/runtime.erofs"
    mkfs.erofs --quiet -zlz4 --all-root -x-1 "$WORK/runtime.erofs" "$WORK/runtime" >/dev/null
}

# boot SECONDS RUNTIME_DISK [interactive]
boot() {
    local limit=$1 runtime=$2 mode=${3-} kernel rootfs start status=0
    kernel=$(result kernel) rootfs=$(result rootfs)
    rm -f "$WORK/data.img"
    truncate -s 4G "$WORK/data.img"
    local memory=${SMOKE_MEMORY:-2048}
    local argv=(
        qemu-system-x86_64
        -nodefaults -no-user-config -display none -no-reboot
        # A lean q35: everything off that the guest does not use. The timer and
        # the interrupt controller stay, because emulation needs them.
        -machine "q35,memory-backend=memory,hpet=off,smm=off,vmport=off,i8042=off,sata=off,smbus=off,usb=off,graphics=off"
        -accel "tcg,thread=multi"
        # Fast string moves are slow when emulated.
        -cpu "max,erms=off,fsrm=off"
        -smp "${SMOKE_CPUS:-2}" -m "$memory"
        -object "memory-backend-memfd,id=memory,size=${memory}M,share=on"
        -kernel "$kernel/kernel" -append "$KERNEL_CMDLINE${SMOKE_APPEND:+ $SMOKE_APPEND}"
        -blockdev "driver=raw,node-name=root,read-only=on,file.driver=file,file.filename=$rootfs/rootfs.erofs"
        -device "virtio-blk-pci,drive=root"
        -blockdev "driver=raw,node-name=data,discard=unmap,file.driver=file,file.filename=$WORK/data.img"
        -device "virtio-blk-pci,drive=data"
        -object "rng-random,id=rng,filename=/dev/urandom" -device "virtio-rng-pci,rng=rng"
        -device "virtio-balloon-pci,free-page-reporting=on"
    )
    if [[ -n $runtime ]]; then
        argv+=(
            -blockdev "driver=raw,node-name=runtime,read-only=on,file.driver=file,file.filename=$runtime"
            -device "virtio-blk-pci,drive=runtime"
        )
    fi
    start=$(date +%s%N)
    if [[ $mode == interactive ]]; then
        argv+=(-chardev "stdio,id=console,mux=on,signal=off,logfile=$CONSOLE" -serial chardev:console)
        "${argv[@]}"
        return
    fi
    argv+=(-chardev "file,id=console,path=$CONSOLE" -serial chardev:console)
    printf '%q ' "${argv[@]}" >"$WORK/argv"
    timeout --kill-after=5 "$limit" "${argv[@]}" </dev/null || status=$?
    say "machine ended after $((($(date +%s%N) - start) / 1000000)) ms, exit status $status"
    if ((status == 124 || status == 137)); then
        tail -n 30 "$CONSOLE" >&2
        die "the guest did not power off within $limit s, the console is in $CONSOLE"
    fi
}

# expect LINE fails unless the console has shown it.
expect() {
    if ! grep -aF "$1" "$CONSOLE"; then
        tail -n 30 "$CONSOLE" >&2
        die "the console does not say \"$1\", see $CONSOLE"
    fi
}

main "$@"; exit
