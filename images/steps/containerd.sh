# shellcheck shell=bash
# containerd and its shim. Without cgo only the btrfs snapshotter is missing,
# which the guest has no use for.

STEP_VARS=(CONTAINERD_VERSION)
STEP_FILES=(recipes/go.sh)

step_tools() { go_tools; }
# shellcheck source=images/recipes/go.sh
source "$IMAGES_DIR/recipes/go.sh"

step_build() {
    local out=$1/out module=github.com/containerd/containerd/v2
    go_environment
    go_install "$out" "-X $module/version.Version=$CONTAINERD_VERSION" "" \
        "$module/cmd/containerd@$CONTAINERD_VERSION" \
        "$module/cmd/containerd-shim-runc-v2@$CONTAINERD_VERSION"
    go_check_static "$out"/*
    "$out/containerd" --version
}
