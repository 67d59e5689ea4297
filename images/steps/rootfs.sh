# shellcheck shell=bash
# The guest's root file system. Nothing gets in that is not named here: the
# packages are unpacked beside it, and the listed programs are taken over with
# the libraries that they need.

STEP_VARS=(DEBIAN_SUITE SOURCE_DATE_EPOCH ASSET_VERSION)
STEP_FILES=(rootfs recipes/debian.sh recipes/libraries.sh)

# shellcheck source=images/recipes/debian.sh
source "$IMAGES_DIR/recipes/debian.sh"
# shellcheck source=images/recipes/libraries.sh
source "$IMAGES_DIR/recipes/libraries.sh"

step_tools() { dpkg-query -W erofs-utils; }

ROOTFS_PACKAGES=(busybox-static nftables iptables e2fsprogs ca-certificates netbase)
# Path in the packages; the same path in the root.
ROOTFS_PROGRAMS=(
    usr/bin/busybox
    usr/sbin/nft
    usr/sbin/xtables-nft-multi
    usr/sbin/mke2fs usr/sbin/e2fsck usr/sbin/resize2fs usr/sbin/tune2fs usr/sbin/dumpe2fs
)

step_build() {
    local work=$1 p=$1/packages root=$1/root f
    debian_unpack "$DEBIAN_SUITE" "$p" "$work/out/debs.txt" "${ROOTFS_PACKAGES[@]}"

    # Mount points: the root is read-only, so each has to exist. /Users,
    # /Volumes and /private are where a Mac's folders appear.
    mkdir -p "$root"/{arcbox,dev,etc/ssl/certs,home,media,mnt,opt,private,proc,root,run,srv,sys,tmp,Users,var,Volumes}
    chmod 1777 "$root/tmp"
    chmod 0700 "$root/root"

    take_loader "$p" "$root"
    for f in "${ROOTFS_PROGRAMS[@]}"; do take_program "$p" "$root" "$f"; done
    # iptables loads its matches and targets by name at run time.
    for f in "$p/$LIB_DIR"/xtables/*.so; do take_program "$p" "$root" "$LIB_DIR/xtables/${f##*/}"; done
    for f in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
        ln -s xtables-nft-multi "$root/usr/sbin/$f"
    done
    for f in mkfs.ext4 fsck.ext4; do ln -s "$([[ $f == mk* ]] && echo mke2fs || echo e2fsck)" "$root/usr/sbin/$f"; done

    # Every applet whose name no real program has. `init` is ours.
    "$p/usr/bin/busybox" --list-full | while read -r f; do
        f=${f##*/}
        case $f in init | linuxrc | busybox) continue ;; esac
        [[ -e $root/usr/bin/$f || -L $root/usr/bin/$f || -e $root/usr/sbin/$f || -L $root/usr/sbin/$f ]] || ln -s busybox "$root/usr/bin/$f"
    done
    install -m 0755 "$IMAGES_DIR/rootfs/init" "$root/usr/sbin/init"

    cp -R "$IMAGES_DIR/rootfs/etc/." "$root/etc/"
    cp "$p/etc/mke2fs.conf" "$p/etc/protocols" "$p/etc/services" "$root/etc/"
    ln -s ../proc/self/mounts "$root/etc/mtab"
    # The agent writes what the daemon's name server tells it.
    ln -s ../run/resolv.conf "$root/etc/resolv.conf"
    find "$p/usr/share/ca-certificates/mozilla" -name '*.crt' -print0 | LC_ALL=C sort -z |
        xargs -0 awk 1 >"$root/etc/ssl/certs/ca-certificates.crt"
    ln -s certs/ca-certificates.crt "$root/etc/ssl/cert.pem"
    cat >"$root/etc/os-release" <<OS
NAME="ArcBox"
ID=arcbox
ID_LIKE=debian
VERSION_ID=$ASSET_VERSION
PRETTY_NAME="ArcBox $ASSET_VERSION"
OS
    find "$root" -type f -perm /0111 -exec chmod 0755 {} +
    find "$root" -type f ! -perm /0111 -exec chmod 0644 {} +

    # Programs that cannot even start would show up as a guest that hangs.
    for f in "nft --version" "iptables --version" "mke2fs -V" "e2fsck -V"; do
        # shellcheck disable=SC2086
        "$root/$LIB_DIR/$LOADER" --library-path "$root/$LIB_DIR" "$(find "$root/usr/sbin/${f%% *}")" ${f#* }
    done

    mkfs.erofs --quiet -zlz4hc,12 -x-1 -T "$SOURCE_DATE_EPOCH" -U 61726362-6f78-4172-8f6f-740000000001 --all-root \
        "$work/out/rootfs.erofs" "$root"
    du -sh "$root" "$work/out/rootfs.erofs"
    (cd "$root" && find . | LC_ALL=C sort) >"$work/out/files.txt"
}
