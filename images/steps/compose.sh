# shellcheck shell=bash
# Docker Compose for the host, a plug-in of the Docker CLI.

STEP_VARS=(COMPOSE_VERSION)
STEP_FILES=(recipes/go.sh)

step_tools() { go_tools; }
# shellcheck source=images/recipes/go.sh
source "$IMAGES_DIR/recipes/go.sh"

step_build() {
    local work=$1 out=$1/out module=github.com/docker/compose/v5
    go_environment
    # Its go.mod excludes versions, which `go install` by version refuses.
    go_source "$work/source" "$module@$COMPOSE_VERSION"
    cd "$work/source" || return
    go build -ldflags "-s -w -X $module/internal.Version=$COMPOSE_VERSION" -o "$out/docker-compose" ./cmd
    go_check_static "$out"/*
    "$out/docker-compose" version
}
