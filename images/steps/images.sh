# shellcheck shell=bash
# Container images for demonstrations and tests, made from Debian packages
# without an engine and without a registry.

STEP_VARS=(DEBIAN_SUITE SOURCE_DATE_EPOCH)
STEP_FILES=(mkimage recipes/debian.sh recipes/go.sh recipes/libraries.sh)

# shellcheck source=images/recipes/debian.sh
source "$IMAGES_DIR/recipes/debian.sh"
# shellcheck source=images/recipes/go.sh
source "$IMAGES_DIR/recipes/go.sh"
# shellcheck source=images/recipes/libraries.sh
source "$IMAGES_DIR/recipes/libraries.sh"

step_tools() { go_tools; }

images_busybox_root() {
    local busybox=$1 root=$2 f
    mkdir -p "$root"/{bin,dev,etc,home,proc,root,run,sys,tmp,var/www}
    install -m 0755 "$busybox" "$root/bin/busybox"
    "$busybox" --list | while read -r f; do
        [[ $f == busybox ]] || ln -s busybox "$root/bin/$f"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
}

step_build() {
    local work=$1 out=$1/out packages=$1/packages f
    debian_unpack "$DEBIAN_SUITE" "$packages" "$out/debs.txt" busybox-static nginx
    go_environment
    (cd "$REPO_DIR" && go build -o "$work/mkimage" ./images/mkimage)

    images_busybox_root "$packages/usr/bin/busybox" "$work/busybox"
    "$work/mkimage" -o "$out/busybox.tar" -name arcbox/test-busybox:latest -root "$work/busybox" \
        -epoch "$SOURCE_DATE_EPOCH" -cmd '["sh"]'

    images_busybox_root "$packages/usr/bin/busybox" "$work/demo"
    printf '<!doctype html>\n<title>ArcBox</title>\n<h1>Hello from ArcBox</h1>\n' >"$work/demo/var/www/index.html"
    "$work/mkimage" -o "$out/demo.tar" -name arcbox/demo:latest -root "$work/demo" \
        -epoch "$SOURCE_DATE_EPOCH" -cmd '["httpd","-f","-v","-p","80","-h","/var/www"]' -expose 80/tcp

    # A web server with the libraries that it needs and nothing else, not even
    # a shell.
    mkdir -p "$work"/web/{etc/nginx,run,srv/www,tmp,var/lib/nginx,var/log/nginx}
    take_loader "$packages" "$work/web"
    take_program "$packages" "$work/web" usr/sbin/nginx
    printf 'root:x:0:0:root:/:/bin/false\n' >"$work/web/etc/passwd"
    printf 'root:x:0:\n' >"$work/web/etc/group"
    cat >"$work/web/etc/nginx/nginx.conf" <<'CONF'
user root;
daemon off;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr;
events { }
http {
    types { text/html html; }
    access_log off;
    server {
        listen 80;
        listen [::]:80;
        root /srv/www;
    }
}
CONF
    printf '<!doctype html>\n<title>ArcBox test</title>\n<h1>It works</h1>\n' >"$work/web/srv/www/index.html"
    "$work/mkimage" -o "$out/web.tar" -name arcbox/test-web:latest -root "$work/web" \
        -epoch "$SOURCE_DATE_EPOCH" -cmd '["/usr/sbin/nginx"]' -expose 80/tcp
    ls -l "$out"
}
