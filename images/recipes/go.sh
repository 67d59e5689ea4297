# shellcheck shell=bash
# What every Go build of the guest has in common: nothing of the machine, the
# user or the place gets into a binary. The module and build caches are the
# user's ordinary ones.

go_tools() { go env GOVERSION GOHOSTARCH | tr '\n' ' '; }

go_environment() {
    # -v names each package that is compiled: the log shows how far a build is.
    export GOFLAGS="-v -trimpath -buildvcs=false" GOWORK=off GOTOOLCHAIN=local GOOS=linux GOARCH=amd64 GOAMD64=v1 CGO_ENABLED=0
    unset GOEXPERIMENT GO_EXTLINK_ENABLED CGO_CFLAGS CGO_CPPFLAGS CGO_LDFLAGS
}

# go_install OUT LDFLAGS TAGS PACKAGE@VERSION...
# Builds by exact version; the checksum database vouches for what is built.
go_install() {
    local out=$1 ldflags=$2 tags=$3
    shift 3
    GOBIN=$out go install -ldflags "-s -w $ldflags" -tags "$tags" "$@"
}

# go_check_static FILE... fails unless each runs without any library, because
# the guest's root has only those that its own packages need.
go_check_static() {
    local f
    for f in "$@"; do
        if readelf -d "$f" 2>/dev/null | grep -q NEEDED; then
            echo "error: $f is not statically linked" >&2
            return 1
        fi
    done
}

# go_source DIR MODULE@VERSION copies a module's source, which the checksum
# database vouches for, to where it can be built as the main module.
go_source() {
    local source
    source=$(go mod download -json "$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [[ -d $source ]] || { echo "error: no source of $2" >&2; return 1; }
    cp -r "$source" "$1"
    chmod -R u+w "$1"
}

# go_patched DIR MODULE@VERSION PATCH... is go_source with files of patches/
# applied; one that does not fit exactly fails the build.
go_patched() {
    local dir=$1 p
    go_source "$dir" "$2"
    shift 2
    for p in "$@"; do patch -s -p1 -F0 -d "$dir" <"$IMAGES_DIR/patches/$p"; done
}
