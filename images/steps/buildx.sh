# shellcheck shell=bash
# The Docker CLI's build plug-in for the host.

STEP_VARS=(BUILDX_VERSION)
STEP_FILES=(recipes/go.sh)

step_tools() { go_tools; }
# shellcheck source=images/recipes/go.sh
source "$IMAGES_DIR/recipes/go.sh"

step_build() {
    local out=$1/out module=github.com/docker/buildx
    go_environment
    go_install "$out" "-X $module/version.Version=$BUILDX_VERSION" "" "$module/cmd/buildx@$BUILDX_VERSION"
    mv "$out/buildx" "$out/docker-buildx"
    go_check_static "$out"/*
    "$out/docker-buildx" version
}
