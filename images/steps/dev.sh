# shellcheck shell=bash
# The container image of tests and benchmarks in which somebody develops: git,
# Node.js with nodemon, air, a project that installs from npm's cache, ssh-add.

STEP_VARS=(DEBIAN_SUITE SOURCE_DATE_EPOCH AIR_VERSION)
STEP_FILES=(mkimage dev recipes/debian.sh recipes/go.sh recipes/libraries.sh)

# shellcheck source=images/recipes/debian.sh
source "$IMAGES_DIR/recipes/debian.sh"
# shellcheck source=images/recipes/go.sh
source "$IMAGES_DIR/recipes/go.sh"
# shellcheck source=images/recipes/libraries.sh
source "$IMAGES_DIR/recipes/libraries.sh"

step_tools() { go_tools; }

# dev_npm ROOT DIRECTORY installs by the lock file in a directory of ROOT with
# ROOT's own npm. Debian's Node.js has parts of itself below /usr, so it has to
# run there; scripts of packages never run.
dev_npm() {
    local root=$1 dir=$2 enter=(chroot)
    ((EUID == 0)) || enter=(unshare --user --map-root-user chroot)
    HOME=/tmp NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
        "${enter[@]}" "$root" /usr/bin/busybox sh -c "cd $dir && exec /usr/bin/node /usr/share/nodejs/npm/bin/npm-cli.js ci \
        --cache /opt/npm-cache --cafile /etc/ssl/certs/ca-certificates.crt --ignore-scripts --no-audit --no-fund --no-update-notifier"
}

step_build() {
    local work=$1 out=$1/out packages=$1/packages root=$1/root f
    debian_unpack "$DEBIAN_SUITE" "$packages" "$out/debs.txt" busybox-static git nodejs npm openssh-client
    go_environment
    (cd "$REPO_DIR" && go build -o "$work/mkimage" ./images/mkimage)
    (cd / && go_install "$work/bin" "" "" "github.com/air-verse/air@$AIR_VERSION")
    go_check_static "$work/bin/air"

    for f in bin sbin lib lib64; do [[ -e $packages/$f ]] || ln -s "usr/$f" "$packages/$f"; done
    mkdir -p "$packages"/opt/dev "$packages"/opt/project "$packages"/etc/ssl/certs "$packages/tmp"
    cp "$IMAGES_DIR"/dev/package*.json "$packages/opt/dev/"
    cp "$IMAGES_DIR"/dev/project/package*.json "$packages/opt/project/"
    cp -L /etc/resolv.conf /etc/hosts "$packages/etc/"
    cp -L /etc/ssl/certs/ca-certificates.crt "$packages/etc/ssl/certs/"
    dev_npm "$packages" /opt/dev
    rm -rf "$packages/opt/npm-cache"
    dev_npm "$packages" /opt/project
    rm -rf "$packages"/opt/npm-cache/_logs "$packages"/opt/npm-cache/_update-notifier-last-checked "$packages/opt/project/node_modules"

    take_loader "$packages" "$root"
    for f in usr/bin/git usr/bin/node usr/bin/ssh-add; do
        [[ ! -e $packages/$f ]] || take_program "$packages" "$root" "$f"
    done
    "$packages/usr/bin/busybox" --list | while read -r f; do
        [[ -e $root/usr/bin/$f ]] || ln -s busybox "$root/usr/bin/$f"
    done
    install -m 0755 "$packages/usr/bin/busybox" "$root/usr/bin/busybox"
    install -m 0755 "$work/bin/air" "$root/usr/bin/air"
    mkdir -p "$root"/{dev,etc,home,opt,proc,root,run,srv,sys,tmp,usr/lib/git-core,usr/share/nodejs}
    ln -s ../../bin/git "$root/usr/lib/git-core/git"
    # The parts of Node.js that Debian has in packages of their own.
    for f in acorn acorn-walk cjs-module-lexer undici minimatch balanced-match brace-expansion corepack; do
        [[ ! -e $packages/usr/share/nodejs/$f ]] || cp -rL "$packages/usr/share/nodejs/$f" "$root/usr/share/nodejs/"
    done
    cp -r "$packages"/opt/dev "$packages"/opt/project "$packages"/opt/npm-cache "$root/opt/"
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    "$work/mkimage" -o "$out/dev.tar" -name arcbox/test-dev:latest -root "$root" -epoch "$SOURCE_DATE_EPOCH" -cmd '["sh"]' \
        -env PATH=/opt/dev/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    # Benchmarks boot it without an engine.
    tar -C "$root" --owner=0 --group=0 --sort=name --mtime="@$SOURCE_DATE_EPOCH" -cf "$out/root.tar" .
    du -sh "$root" "$root"/* "$root"/opt/*
    ls -l "$out"
}
