# shellcheck shell=bash
# Taking single programs out of unpacked packages.

LIB_DIR=usr/lib/x86_64-linux-gnu
LOADER=ld-linux-x86-64.so.2

# take_program PACKAGES ROOT FILE
# Copies FILE (its path in both trees) and, through them, all the libraries
# that it is linked with. A library that no package has is an error.
take_program() {
    local packages=$1 root=$2 file=$3 need
    [[ ! -e $root/$file ]] || return 0
    install -D -m 0755 "$packages/$file" "$root/$file"
    readelf -d "$packages/$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | while read -r need; do
        take_program "$packages" "$root" "$LIB_DIR/$need"
    done
}

# take_loader PACKAGES ROOT
# The loader, at the path that is compiled into every program, and the merged
# /usr that Debian's paths assume.
take_loader() {
    local packages=$1 root=$2 f
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
    for f in bin sbin lib lib64; do ln -s "usr/$f" "$root/$f"; done
    take_program "$packages" "$root" "$LIB_DIR/$LOADER"
    ln -s "../${LIB_DIR#usr/}/$LOADER" "$root/usr/lib64/$LOADER"
}
