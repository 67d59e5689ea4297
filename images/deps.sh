#!/usr/bin/env bash
# Installs the packages of packages.txt that this machine lacks. It asks
# nothing, and does nothing when nothing is missing. A machine that the guest
# cannot be built on is told so in one line, before anything is installed.
#
#   deps.sh           install
#   deps.sh --check   only list what is missing; exit status 1 if anything is
#
# --os-release FILE takes the distribution from FILE, for tests.
set -euo pipefail

# shellcheck source=images/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=images/versions.env
source "$IMAGES_DIR/versions.env"
# shellcheck source=images/recipes/debian.sh
source "$IMAGES_DIR/recipes/debian.sh"

# A cold build of the guest fills about this much of the disk with the kernel's
# objects and Go's caches.
NEEDED_GB=12

BY_HAND="install the counterparts of the packages in images/packages.txt by hand"

main() {
    local check=no file=/etc/os-release id codename missing
    while (($# > 0)); do
        case $1 in
        --check) check=yes ;;
        --os-release)
            file=${2-}
            shift
            ;;
        *) die "usage: images/deps.sh [--check] [--os-release FILE]" ;;
        esac
        shift
    done
    read -r id codename < <(distribution "$file") || exit 1
    guest_arch >/dev/null

    mapfile -t missing < <(list_missing "$codename")
    if [[ $check == yes ]]; then
        ((${#missing[@]} == 0)) && return 0
        printf '%s\n' "${missing[@]}"
        return 1
    fi

    check_room
    check_mirror "$id"
    if ((${#missing[@]} == 0)); then
        say "all packages of images/packages.txt are installed"
        return 0
    fi
    install_packages "${missing[@]}"
    mapfile -t missing < <(list_missing "$codename")
    ((${#missing[@]} == 0)) || die "still missing after the installation: ${missing[*]}"
}

# distribution FILE prints "ID CODENAME" of the os-release FILE, if the packages
# are known to exist there and QEMU to be new enough.
distribution() {
    local id like version codename least
    [[ -r $1 ]] || die "this is neither Debian nor Ubuntu ($1 is missing): $BY_HAND"
    IFS='|' read -r id like version codename < <(
        # shellcheck source=/dev/null
        source "$1"
        printf '%s|%s|%s|%s\n' "${ID-}" "${ID_LIKE-}" "${VERSION_ID-}" "${VERSION_CODENAME-unknown}"
    )
    case " $id $like " in
    *" debian "* | *" ubuntu "*) ;;
    *) die "this is ${id:-an unknown system}, neither Debian nor Ubuntu: $BY_HAND" ;;
    esac
    # What only resembles the two numbers its releases as it likes, and Debian's
    # testing has no number.
    case $id in debian) least=12 ;; ubuntu) least=24 ;; *) least=0 ;; esac
    if [[ $version =~ ^[0-9]+ ]] && ((10#${BASH_REMATCH[0]} < least)); then
        die "this is $id $version, whose QEMU is too old: Debian 12 or Ubuntu 24.04 is the oldest that works"
    fi
    echo "$id $codename"
}

# list_missing CODENAME
list_missing() {
    local package others
    while read -r package others; do
        [[ -z $package || $package == \#* || " $others " == *" !$1 "* ]] && continue
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true) == installed ]] || echo "$package"
    done <"$IMAGES_DIR/packages.txt"
}

# Room is needed only until the first build is in the cache.
check_room() {
    local free
    if built kernel; then return 0; fi
    free=$(free_gb "$CACHE_DIR")
    ((free >= NEEDED_GB)) || die "$free GB are free for $CACHE_DIR, building the guest needs $NEEDED_GB: free some, or name another place with ARCBOX_CACHE"
}

# check_mirror ID fails if the guest's Debian packages cannot be had: better now
# than in the middle of a build. With everything in the cache none is needed.
check_mirror() {
    local mirror=${ARCBOX_DEBIAN_MIRROR-} reply tmp
    if built kernel && built rootfs && built init && built images; then return 0; fi
    if [[ -z $mirror ]]; then
        [[ $1 == debian && -n $(debian_sources "$DEBIAN_SUITE") ]] ||
            die "the package sources of this machine name no Debian mirror: set ARCBOX_DEBIAN_MIRROR to the address of one (ending in /debian, mostly)"
        return 0
    fi
    [[ $mirror =~ ^(https?|file):/[^[:space:]]+$ ]] ||
        die "ARCBOX_DEBIAN_MIRROR is \"$mirror\", which is no address: it has to begin with http://, https:// or file:/"
    tmp=$(mktemp -d)
    # Apt's own download, for the machine's proxy settings hold for it.
    reply=$(cd "$tmp" && /usr/lib/apt/apt-helper -q -o APT::Sandbox::User=root -o Acquire::Retries=0 -o Acquire::http::Timeout=20 \
        -o Acquire::https::Timeout=20 download-file "${mirror%/}/dists/$DEBIAN_SUITE/InRelease" InRelease 2>&1) || true
    if ! grep -qs "^Codename: $DEBIAN_SUITE\$" "$tmp/InRelease"; then
        rm -rf "$tmp"
        reply=$(grep -m1 '^E: ' <<<"$reply" || true)
        die "ARCBOX_DEBIAN_MIRROR is $mirror, which has no Debian $DEBIAN_SUITE (dists/$DEBIAN_SUITE/InRelease): ${reply:-what is there is something else}"
    fi
    rm -rf "$tmp"
}

# built STEP succeeds if the cache has a result of the step, of whatever version.
built() { compgen -G "$CACHE_DIR/$1-????????????????" >/dev/null; }

# install_packages PACKAGE...
install_packages() {
    local sudo=() status=0 command="apt-get install -y --no-install-recommends $*"
    if (($(id -u) != 0)); then
        command -v sudo >/dev/null || die "missing: $*; there is no sudo, so have root run: $command"
        # Without a terminal there is nobody who could type a password.
        if [[ -t 0 ]]; then sudo=(sudo); else sudo=(sudo -n); fi
    fi
    say "installing $*"
    "${sudo[@]}" apt-get -qq -o DPkg::Lock::Timeout=600 update </dev/null || status=$?
    ((status != 1)) || (($(id -u) == 0)) || die "missing: $*; sudo does not let $(id -un) install them, so have root run: $command"
    # Other sources of the machine may be broken without concerning us.
    ((status == 0)) || say "apt-get update failed (exit $status), trying with the package lists that are there"
    # An installation that was interrupted, this one or another, comes first.
    if [[ -n $(dpkg --audit) ]]; then
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive dpkg --configure -a </dev/null
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 --no-install-recommends install "$@" </dev/null ||
        die "could not install $* (see above); by hand: $command"
}

main "$@"; exit
