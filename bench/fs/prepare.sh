#!/usr/bin/env bash
# Makes what the file benchmark needs: the program of the guests, the peers'
# root file system, and an archive that becomes the image of the containers.
# Both hold the test image arcbox/test-dev, with git, Node.js and npm.
#
#   prepare.sh DIRECTORY
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
OUT=${1:?name the directory for the results}
export CGO_ENABLED=0

cd "$HERE/../.."
images/build.sh test-images >&2
go build -trimpath -ldflags '-s -w' -o "$OUT/fswork" ./bench/fs/fswork

# Both take a while, and depend on these two only.
key=$(cat "$OUT/fswork" build/images/dev-root.tar | sha256sum | cut -d' ' -f1)
[[ $(cat "$OUT/key" 2>/dev/null || true) != "$key" ]] || exit 0
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
tar -C "$root" -xf build/images/dev-root.tar
cp "$OUT/fswork" "$root/init"
tar -C "$root" --owner=0 --group=0 -cf "$OUT/image.tar" .
mkfs.erofs --quiet --all-root "$OUT/root.erofs" "$root" >/dev/null
echo "$key" >"$OUT/key"
