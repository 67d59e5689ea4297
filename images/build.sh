#!/usr/bin/env bash
# Builds the guest; README.md beside this file says what comes out.
#
#   build.sh                everything, then build/assets/manifest.json
#   build.sh steps          everything that does not need bin/arcbox-agent
#   build.sh step NAME...   only these steps
#   build.sh test-images    the images that only some tests and benchmarks need
#   build.sh assemble       only the copies below build/ and bin/, and the manifest
set -euo pipefail

# shellcheck source=images/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
set -a
# shellcheck source=images/versions.env
source "$IMAGES_DIR/versions.env"
set +a
# What is built must not depend on the caller's habits.
umask 022
export LC_ALL=C

# The slow ones first: what comes after them reuses much of Go's build cache.
STEPS=(kernel rootfs runc init containerd dockerd docker-cli buildx compose images)

main() {
    guest_arch >/dev/null
    require_go
    case ${1-all} in
    all)
        require_agent
        run_steps "${STEPS[@]}"
        assemble
        ;;
    steps) run_steps "${STEPS[@]}" ;;
    step)
        shift
        (($# > 0)) || die "no step named (steps: $(list_steps))"
        run_steps "$@"
        ;;
    test-images)
        run_steps dev
        put "$(result dev)/dev.tar" "$BUILD_DIR/images/dev.tar"
        put "$(result dev)/root.tar" "$BUILD_DIR/images/dev-root.tar"
        ;;
    assemble) assemble ;;
    *) die "usage: images/build.sh [all | steps | step NAME... | test-images | assemble]" ;;
    esac
}

run_steps() {
    local name
    for name in "$@"; do run_step "$name"; done
}

require_agent() {
    local f
    for f in arcbox-agent arcbox-proxy; do
        [[ -x $REPO_DIR/bin/$f ]] || die "bin/$f is missing: run \`make build-agent\` first"
    done
}

# result STEP prints where a step's result is, which has to exist.
result() {
    local dir
    dir=$(step_dir "$1")
    [[ -d $dir ]] || die "$1 is not built: run \`images/build.sh steps\` first"
    echo "$dir"
}

# put FROM TO copies into the place; TO appears complete or not at all.
put() {
    mkdir -p "$(dirname "$2")"
    cp --reflink=auto "$1" "$2.tmp"
    mv -f "$2.tmp" "$2"
}

# The manifest and everything that it names. The new set is put together beside
# the old one and takes its place at once.
assemble() {
    local arch new=$BUILD_DIR/assets.new kernel rootfs containerd dockerd runc init cli buildx compose images agent proxy f
    arch=$(guest_arch)
    require_agent
    kernel=$(result kernel) rootfs=$(result rootfs) containerd=$(result containerd) dockerd=$(result dockerd)
    runc=$(result runc) init=$(result init) cli=$(result docker-cli) buildx=$(result buildx) compose=$(result compose) images=$(result images)

    rm -rf "$new"
    put "$kernel/kernel" "$new/$arch/kernel"
    put "$rootfs/rootfs.erofs" "$new/$arch/rootfs.erofs"
    put "$dockerd/dockerd" "$new/bin/dockerd/${MOBY_VERSION#v}/$arch/dockerd"
    put "$runc/runc" "$new/bin/runc/${RUNC_VERSION#v}/$arch/runc"
    put "$init/docker-init" "$new/bin/docker-init/$TINI_VERSION/$arch/docker-init"
    for f in containerd containerd-shim-runc-v2; do
        put "$containerd/$f" "$new/bin/$f/${CONTAINERD_VERSION#v}/$arch/$f"
    done
    agent=$(sha256sum "$REPO_DIR/bin/arcbox-agent" | cut -c1-12)
    put "$REPO_DIR/bin/arcbox-agent" "$new/bin/arcbox-agent/$agent/$arch/arcbox-agent"
    proxy=$(sha256sum "$REPO_DIR/bin/arcbox-proxy" | cut -c1-12)
    put "$REPO_DIR/bin/arcbox-proxy" "$new/bin/arcbox-proxy/$proxy/$arch/arcbox-proxy"
    (cd "$REPO_DIR" && go run ./images/mkmanifest -assets "$new" -version "$ASSET_VERSION" -epoch "$SOURCE_DATE_EPOCH" \
        -kernel-version "$(cat "$kernel/version")" -cmdline "$KERNEL_CMDLINE" -install-dirs arcbox-agent=bin)
    rm -rf "$BUILD_DIR/assets"
    mv -T "$new" "$BUILD_DIR/assets"

    for f in busybox demo web; do put "$images/$f.tar" "$BUILD_DIR/images/$f.tar"; done
    # The Debian packages, with versions and hashes, that went into the guest.
    sort -u "$kernel/debs.txt" "$rootfs/debs.txt" "$init/debs.txt" "$images/debs.txt" >"$BUILD_DIR/debs.txt"
    put "$cli/docker" "$REPO_DIR/bin/docker"
    put "$buildx/docker-buildx" "$REPO_DIR/bin/cli-plugins/docker-buildx"
    put "$compose/docker-compose" "$REPO_DIR/bin/cli-plugins/docker-compose"
    say "build/assets/manifest.json: version $ASSET_VERSION, kernel $(cat "$kernel/version"), agent $agent"
}

main "$@"; exit
