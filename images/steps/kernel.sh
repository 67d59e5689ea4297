# shellcheck shell=bash
# The guest's kernel: Debian's Linux source, one patch, which says what it is
# for, our configuration, everything built in.

STEP_VARS=(DEBIAN_SUITE LINUX_SOURCE_PACKAGE LINUX_SOURCE_VERSION SOURCE_DATE_EPOCH)
STEP_FILES=(kernel recipes/debian.sh patches/linux-virtiofs-permissions.patch)
# make knows what is finished, so fourteen minutes of compiling are not lost.
STEP_RESUME=yes

step_tools() {
    gcc --version | head -n 1
    ld --version | head -n 1
}

step_build() {
    local work=$1 src=$1/src version
    # shellcheck source=images/recipes/debian.sh
    source "$IMAGES_DIR/recipes/debian.sh"
    if [[ ! -f $work/unpacked ]]; then
        rm -rf "$src" "$work/deb"
        debian_unpack "$DEBIAN_SUITE" "$work/deb" "$work/debs.txt" -nodeps "$LINUX_SOURCE_PACKAGE"
        mkdir "$src"
        tar -xf "$work/deb/usr/src/$LINUX_SOURCE_PACKAGE.tar.xz" -C "$src" --strip-components=1
        patch -d "$src" -p1 --no-backup-if-mismatch <"$IMAGES_DIR/patches/linux-virtiofs-permissions.patch"
        rm -rf "$work/deb"
        touch "$work/unpacked"
    fi
    version=$(awk '{ print $2 }' "$work/debs.txt")
    if [[ $version != "$LINUX_SOURCE_VERSION" ]]; then
        echo "note: $LINUX_SOURCE_PACKAGE is $version now, versions.env names $LINUX_SOURCE_VERSION"
    fi

    # The kernel's banner and whatever else a build leaves of its surroundings.
    KBUILD_BUILD_TIMESTAMP=$(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH")
    export KBUILD_BUILD_TIMESTAMP SOURCE_DATE_EPOCH
    export KBUILD_BUILD_USER=arcbox KBUILD_BUILD_HOST=arcbox KBUILD_BUILD_VERSION=1
    export LC_ALL=C
    unset KCONFIG_CONFIG KBUILD_OUTPUT ARCH CROSS_COMPILE MAKEFLAGS CFLAGS LDFLAGS

    KCONFIG_ALLCONFIG=$IMAGES_DIR/kernel/config make -C "$src" allnoconfig
    make -C "$src" olddefconfig
    "$IMAGES_DIR/kernel/check-config.sh" "$IMAGES_DIR/kernel/config" "$src/.config"
    make -C "$src" -j"$(nproc)" bzImage
    make -s -C "$src" kernelrelease >"$work/out/version"

    cp "$src/arch/x86/boot/bzImage" "$work/out/kernel"
    cp "$src/.config" "$work/out/config"
    cp "$work/debs.txt" "$work/out/debs.txt"
}
