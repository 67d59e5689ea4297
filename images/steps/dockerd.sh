# shellcheck shell=bash
# The Docker engine. Its version is the module's own, whatever release of the
# engine that may correspond to. Each patch says what it is for.

STEP_VARS=(MOBY_VERSION)
STEP_FILES=(recipes/go.sh patches/moby-keep-network.patch patches/containerd-export-buffer.patch)

step_tools() { go_tools; }
# shellcheck source=images/recipes/go.sh
source "$IMAGES_DIR/recipes/go.sh"

step_build() {
    local work=$1 out=$1/out module=github.com/moby/moby/v2 containerd
    go_environment
    go_patched "$work/moby" "$module@$MOBY_VERSION" moby-keep-network.patch
    cd "$work/moby" || return
    # The one that the engine itself asks for, not the guest's containerd.
    containerd=$(go list -m -f '{{.Path}}@{{.Version}}' github.com/containerd/containerd/v2)
    go_patched "$work/containerd" "$containerd" containerd-export-buffer.patch
    # A relative path, because it is recorded in the binary.
    go mod edit -replace "${containerd%@*}=../containerd"
    go build -mod=mod -tags "netgo osusergo exclude_graphdriver_btrfs" \
        -ldflags "-s -w -X $module/dockerversion.Version=${MOBY_VERSION#v} -X $module/dockerversion.GitCommit=$MOBY_VERSION" \
        -o "$out/dockerd" ./cmd/dockerd
    go_check_static "$out"/*
    "$out/dockerd" --version
}
