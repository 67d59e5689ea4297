#!/usr/bin/env bash
# Builds the peer of the boot benchmark: Debian with systemd, sshd and dbus on
# ext4, with the distribution's own cloud kernel and the initramfs that its
# package makes. Prints the directory with kernel, initrd and disk.img, which
# stays in the cache and is used again.
set -euo pipefail

CODENAME=$(
    # shellcheck source=/dev/null
    source /etc/os-release
    [[ ${ID-} == debian ]] || exit 1
    echo "$VERSION_CODENAME"
) || {
    echo "bench: the peer is built from the host's own Debian release, and this host is not Debian" >&2
    exit 1
}
MIRROR=$(awk '/^(URIs:|deb )/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true)
CACHE=${ARCBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/arcbox}/bench
# The recipe is part of the name, so that another recipe is another disk.
OUT=$CACHE/debian-$CODENAME-$(sha256sum "$0" | cut -c1-12)

if [[ -e $OUT/disk.img ]]; then
    echo "$OUT"
    exit
fi
((EUID == 0)) || {
    echo "bench: building the peer's disk needs root (debootstrap)" >&2
    exit 1
}
mkdir -p "$CACHE/packages"
exec 9>"$CACHE/lock"
flock 9
[[ -e $OUT/disk.img ]] && {
    echo "$OUT"
    exit
}
work=$(mktemp -d "$CACHE/work.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
echo "bench: building Debian $CODENAME with systemd in $OUT" >&2

# debootstrap is used where it lies; nothing is installed on the host.
(cd "$work" && apt-get -qq download debootstrap 2>/dev/null && dpkg -x debootstrap_*.deb tool)
DEBOOTSTRAP_DIR=$work/tool/usr/share/debootstrap PATH=$PATH:/usr/sbin:/sbin \
    sh "$work/tool/usr/sbin/debootstrap" --variant=minbase --cache-dir="$CACHE/packages" \
    --include=systemd-sysv,udev,dbus,openssh-server,kmod,initramfs-tools,linux-image-cloud-amd64 \
    "$CODENAME" "$work/root" ${MIRROR:+"$MIRROR"} >"$CACHE/debootstrap.log" 2>&1 || {
    tail -n 20 "$CACHE/debootstrap.log" >&2
    exit 1
}
root=$work/root
echo bench >"$root/etc/hostname"
echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
cat >"$root/etc/systemd/system/bench-ready.service" <<'UNIT'
[Unit]
Description=Say that sshd runs and the boot is done
After=multi-user.target ssh.service

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'exec >/dev/ttyS0; echo bench-ready; systemctl show -p UserspaceTimestampMonotonic; echo bench-end'

[Install]
WantedBy=graphical.target
UNIT
chroot "$root" systemctl --quiet enable bench-ready.service
# A machine that has booted before: it has its identity and its host keys.
chroot "$root" systemd-machine-id-setup >/dev/null 2>&1
chroot "$root" ssh-keygen -A >/dev/null

mkdir "$work/out"
cp "$root"/boot/vmlinuz-* "$work/out/kernel"
cp "$root"/boot/initrd.img-* "$work/out/initrd"
basename "$root"/boot/vmlinuz-* | cut -d- -f2- >"$work/out/release"
truncate -s 2G "$work/out/disk.img"
PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F -d "$root" "$work/out/disk.img"
rm -rf "$OUT"
mv "$work/out" "$OUT"
echo "$OUT"
