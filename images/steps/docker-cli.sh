# shellcheck shell=bash
# The Docker CLI for the host.

STEP_VARS=(DOCKER_CLI_VERSION SWARMKIT_VERSION)
STEP_FILES=(recipes/go.sh)

step_tools() { go_tools; }
# shellcheck source=images/recipes/go.sh
source "$IMAGES_DIR/recipes/go.sh"

step_build() {
    local work=$1 out=$1/out version="$DOCKER_CLI_VERSION+incompatible" source
    local module=github.com/docker/cli
    go_environment
    # The CLI has no go.mod of its own, so `go install` by version would choose
    # all dependencies anew. It does have the list that its release was built
    # with: a wrapper module takes that over, with its check sums.
    source=$(go mod download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    mkdir "$work/wrapper"
    cd "$work/wrapper" || return
    sed -e 's#^module .*#module guest/dockercli#' -e '/^tool (/,/^)/d' "$source/vendor.mod" >go.mod
    cat "$source/vendor.sum" >go.sum
    go mod edit -require "$module@$version" -replace "github.com/moby/swarmkit/v2=github.com/moby/swarmkit/v2@$SWARMKIT_VERSION"
    # A module without go.mod is compiled as Go 1.16 unless told otherwise.
    go build -mod=mod -gcflags="$module/...=-lang=go1.26" -tags "netgo osusergo" \
        -ldflags "-s -w -X $module/cli/version.Version=${DOCKER_CLI_VERSION#v}" -o "$out/docker" "$module/cmd/docker"
    go_check_static "$out/docker"
    "$out/docker" --version
}
