# shellcheck shell=bash
# runc enters namespaces in C, so it is the one binary that needs cgo; glibc and
# libseccomp are linked in statically, from the build machine's packages.

STEP_VARS=(RUNC_VERSION)
STEP_FILES=(recipes/go.sh)

step_tools() {
    go_tools
    gcc --version | head -n 1
    dpkg-query -W libc6-dev libseccomp-dev
}
# shellcheck source=images/recipes/go.sh
source "$IMAGES_DIR/recipes/go.sh"

step_build() {
    local out=$1/out
    go_environment
    export CGO_ENABLED=1
    go_install "$out" "-linkmode external -extldflags \"-static -Wl,--build-id=none\" -X main.version=${RUNC_VERSION#v}" \
        "seccomp netgo osusergo" "github.com/opencontainers/runc@$RUNC_VERSION"
    go_check_static "$out"/*
    "$out/runc" --version
}
