#!/usr/bin/env bash
# Makes what the network benchmark measures against: installs packages.txt,
# builds gvproxy, unpacks an sshd, and packs the peers' root file system.
#
#   prepare.sh DIRECTORY
#
# What is slow or comes from outside stays in the cache. A peer that cannot be
# had leaves its reason in DIRECTORY/absent/<peer>, which the report quotes.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
OUT=${1:?name the directory for the results}
CACHE=${ARCBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/arcbox}/bench/net
GVPROXY_VERSION=v0.8.9
# Go's own name of the architecture is the guest's.
export CGO_ENABLED=0

say() { echo "bench/net: $*" >&2; }

absent() { # PEER REASON
    say "$1 is absent: $2"
    echo "$2" >"$OUT/absent/$1"
}

packages() {
    local missing=() package sudo=()
    while read -r package _; do
        [[ -z $package || $package == \#* ]] && continue
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true) == installed ]] || missing+=("$package")
    done <"$HERE/packages.txt"
    ((${#missing[@]} == 0)) && return 0
    if ((EUID != 0)); then
        command -v sudo >/dev/null || {
            say "installing packages needs root or sudo; missing are: ${missing[*]}"
            return 0
        }
        sudo=(sudo)
    fi
    say "installing ${missing[*]}"
    "${sudo[@]}" apt-get -qq update || true
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" </dev/null >"$OUT/apt.log" 2>&1 ||
        say "not installed: ${missing[*]}: $(tail -n 1 "$OUT/apt.log")"
}

gvproxy() {
    local dir=$CACHE/gvproxy-$GVPROXY_VERSION
    if [[ ! -x $dir/gvproxy ]]; then
        say "building gvproxy $GVPROXY_VERSION"
        # Outside the clone: its module needs another version of the network stack.
        (cd / && GOBIN=$dir GOFLAGS='' go install "github.com/containers/gvisor-tap-vsock/cmd/gvproxy@$GVPROXY_VERSION") >"$OUT/gvproxy.log" 2>&1 || {
            absent gvproxy "it does not build: $(tail -n 1 "$OUT/gvproxy.log")"
            return 0
        }
    fi
    ln -sf "$dir/gvproxy" "$OUT/gvproxy"
}

# sshd copies the distribution's sshd and the libraries that it needs to root.
sshd() { # ROOT
    local tree=$CACHE/sshd root=$1 lib libs
    command -v ssh >/dev/null || {
        absent ssh "no ssh on this machine"
        return 0
    }
    if [[ ! -x $tree/usr/sbin/sshd ]]; then
        local work
        work=$(mktemp -d "$CACHE/sshd.XXXXXX")
        (cd "$work" && apt-get -qq download openssh-server libwrap0 2>/dev/null && for p in *.deb; do dpkg -x "$p" tree; done) || {
            rm -rf "$work"
            absent ssh "the package openssh-server cannot be downloaded"
            return 0
        }
        mv "$work/tree" "$tree"
        rm -rf "$work"
    fi
    libs=$(LD_LIBRARY_PATH=$(find "$tree" -name '*-linux-gnu' -type d | paste -sd:) ldd "$tree/usr/sbin/sshd") && [[ $libs != *"not found"* ]] || {
        absent ssh "sshd lacks libraries: $(grep 'not found' <<<"$libs" | xargs)"
        return 0
    }
    mkdir -p "$root/usr/sbin" "$root/usr/lib" "$root/lib64" "$root/etc/ssh" "$root/root"
    cp "$tree/usr/sbin/sshd" "$root/usr/sbin/"
    while read -r lib; do
        # The loader is found by its path, everything else in /usr/lib.
        [[ $lib == /lib64/* ]] && cp -L "$lib" "$root/lib64/" || cp -L "$lib" "$root/usr/lib/"
    done < <(grep -o '[^ ]*/[^ ]*' <<<"$libs")
    ln -s usr/lib "$root/lib"
    rm -f "$OUT/ssh-key" "$OUT/ssh-key.pub"
    ssh-keygen -q -t ed25519 -N '' -f "$OUT/ssh-key"
    ssh-keygen -q -t ed25519 -N '' -f "$root/etc/ssh/host_key"
    cp "$OUT/ssh-key.pub" "$root/etc/ssh/authorized_keys"
    printf '%s\n' 'HostKey /etc/ssh/host_key' 'AuthorizedKeysFile /etc/ssh/authorized_keys' 'StrictModes no' \
        'PermitRootLogin prohibit-password' 'UsePAM no' 'UseDNS no' 'PidFile none' >"$root/etc/ssh/sshd_config"
    printf '%s\n' 'root:x:0:0::/root:/init' 'sshd:x:74:74::/run/sshd:/bin/false' >"$root/etc/passwd"
    printf '%s\n' 'root:x:0:' 'sshd:x:74:' >"$root/etc/group"
}

mkdir -p "$CACHE"
rm -rf "$OUT/absent"
mkdir -p "$OUT/absent"
packages
gvproxy

go build -trimpath -ldflags '-s -w' -o "$OUT/guestpeer" "$HERE/guestpeer"
tar -C "$OUT" --owner=0 --group=0 -cf "$OUT/image.tar" guestpeer
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
mkdir "$root"/{dev,proc,sys,run,tmp,etc}
cp "$OUT/guestpeer" "$root/init"
sshd "$root"
mkfs.erofs --quiet --all-root "$OUT/root.erofs" "$root" >/dev/null
