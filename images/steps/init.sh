# shellcheck shell=bash
# docker-init is tini, as Debian builds it statically.

STEP_VARS=(DEBIAN_SUITE TINI_VERSION)
STEP_FILES=(recipes/debian.sh recipes/go.sh)

# shellcheck source=images/recipes/debian.sh
source "$IMAGES_DIR/recipes/debian.sh"
# shellcheck source=images/recipes/go.sh
source "$IMAGES_DIR/recipes/go.sh"

step_build() {
    local work=$1 have
    debian_unpack "$DEBIAN_SUITE" "$work/root" "$work/out/debs.txt" -nodeps tini
    install -m 0755 "$work/root/usr/bin/tini-static" "$work/out/docker-init"
    go_check_static "$work/out/docker-init"
    have=$("$work/out/docker-init" --version)
    [[ $have == "tini version $TINI_VERSION"* ]] || {
        echo "error: $DEBIAN_SUITE has $have, versions.env names $TINI_VERSION" >&2
        return 1
    }
}
