#!/usr/bin/env bash
# From a fresh clone to a container: what is there already is used again, and
# an interrupted run goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -t 2 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
began=$SECONDS
stage() { printf '%s==> %s%s (%ds)\n' "$bold" "$1" "$plain" $((SECONDS - began)) >&2; }
# The programs that this runs get the same signal.
trap 'echo "quickstart: interrupted; run it again, it goes on where it was" >&2; exit 130' INT

# shellcheck source=images/lib.sh
(source images/lib.sh && require_go)
stage "packages of the distribution"
images/deps.sh
stage "programs and guest"
make --no-print-directory guest >&2

stage "daemon"
if status=$(bin/arcbox daemon status --format json 2>/dev/null); then
    # A program file that was replaced since reads "... (deleted)".
    pid=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' <<<"$status")
    if [[ $(readlink "/proc/$pid/exe") == *"(deleted)" ]]; then
        echo "the daemon that runs is of an earlier build: restarting it" >&2
        bin/arcbox daemon stop >&2
    else
        echo "reusing the daemon that runs already" >&2
    fi
fi
bin/arcbox daemon start --wait >&2
socket=$(bin/arcbox daemon status --format json | sed -n 's/.*"docker_socket": *"\([^"]*\)".*/\1/p')
export DOCKER_HOST=unix://$socket
docker() { bin/docker "$@"; }

stage "demo image"
# The image in the engine is the one of this build, or it is loaded.
want=$(sha256sum build/images/demo.tar | cut -d' ' -f1)
mark=$(dirname "$socket")/../demo-image.sha256
if [ "$(cat "$mark" 2>/dev/null)" = "$want" ] && docker image inspect arcbox/demo >/dev/null 2>&1; then
    echo "reusing arcbox/demo" >&2
else
    docker load -i build/images/demo.tar >&2
    echo "$want" >"$mark"
fi

stage "docker run --rm arcbox/demo uname -a"
docker run --rm arcbox/demo uname -a

cat >&2 <<EOF

ArcBox runs. Use it from any shell:

  export DOCKER_HOST=$DOCKER_HOST        # or: docker context use arcbox
  docker run --rm arcbox/demo echo hello
  $PWD/bin/arcbox status
  $PWD/bin/arcbox daemon stop
EOF
