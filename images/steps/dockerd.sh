# shellcheck shell=bash
# The Docker engine. Its version is the module's own, whatever release of the
# engine that may correspond to.

STEP_VARS=(MOBY_VERSION)
STEP_FILES=(recipes/go.sh)

step_tools() { go_tools; }
# shellcheck source=images/recipes/go.sh
source "$IMAGES_DIR/recipes/go.sh"

step_build() {
    local out=$1/out module=github.com/moby/moby/v2
    go_environment
    go_install "$out" "-X $module/dockerversion.Version=${MOBY_VERSION#v} -X $module/dockerversion.GitCommit=$MOBY_VERSION" \
        "netgo osusergo exclude_graphdriver_btrfs" "$module/cmd/dockerd@$MOBY_VERSION"
    go_check_static "$out"/*
    "$out/dockerd" --version
}
