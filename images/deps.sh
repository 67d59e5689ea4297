#!/usr/bin/env bash
# Installs the packages of packages.txt that this machine lacks. It asks
# nothing, and does nothing when nothing is missing.
#
#   deps.sh           install
#   deps.sh --check   only list what is missing; exit status 1 if anything is
set -euo pipefail

# shellcheck source=images/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A cold build of the guest fills about this much of the disk with the kernel's
# objects and Go's caches.
NEEDED_GB=12

main() {
    local codename missing sudo=() free
    [[ -r /etc/os-release ]] || die "this is neither Debian nor Ubuntu: install the counterparts of the packages in images/packages.txt by hand"
    codename=$(
        # shellcheck source=/dev/null
        source /etc/os-release
        [[ " ${ID-} ${ID_LIKE-} " == *" debian "* || " ${ID-} ${ID_LIKE-} " == *" ubuntu "* ]] && echo "${VERSION_CODENAME-unknown}"
    ) || die "this is neither Debian nor Ubuntu: install the counterparts of the packages in images/packages.txt by hand"
    guest_arch >/dev/null

    mapfile -t missing < <(list_missing "$codename")
    if [[ ${1-} == --check ]]; then
        ((${#missing[@]} == 0)) && return 0
        printf '%s\n' "${missing[@]}"
        return 1
    fi

    # Room is needed only until the first build is in the cache.
    if ! compgen -G "$CACHE_DIR/kernel-*" >/dev/null; then
        free=$(free_gb "$CACHE_DIR")
        ((free >= NEEDED_GB)) || die "$free GB are free for $CACHE_DIR, building the guest needs $NEEDED_GB: free some, or name another place with ARCBOX_CACHE"
    fi

    if ((${#missing[@]} == 0)); then
        say "all packages of images/packages.txt are installed"
        return 0
    fi
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "installing packages needs root or sudo; missing are: ${missing[*]}"
        sudo=(sudo)
    fi
    say "installing ${missing[*]}"
    "${sudo[@]}" apt-get -qq update
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" </dev/null
}

# list_missing CODENAME
list_missing() {
    local package release _
    while read -r package release _; do
        [[ -z $package || $package == \#* ]] && continue
        [[ -n $release && $release != "$1" ]] && continue
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true) == installed ]] || echo "$package"
    done <"$IMAGES_DIR/packages.txt"
}

# Free space, in whole GB, where PATH is or is going to be.
free_gb() {
    local path=$1
    while [[ ! -e $path ]]; do path=$(dirname "$path"); done
    df -B1000000000 --output=avail "$path" | awk 'NR == 2 { print $1 }'
}

main "$@"
