#!/usr/bin/env bash
# Measures directories of the host in a machine, and their peers. Figures and
# table go to build/bench/fs/. Arguments go to the program: -only small,git
# measures parts, -subjects share,9p compares with some, -rounds 1 is quicker.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${ARCBOX_TEST_BIN:?set it to the bin directory of the clone, or use make bench}"
out=$PWD/build/bench/fs
mkdir -p "$out"
bench/fs/prepare.sh "$out"
CGO_ENABLED=0 go build -trimpath -o "$out/fsbench" ./bench/fs/fsbench
exec "$out/fsbench" -bin "$ARCBOX_TEST_BIN" -out "$out" "$@"
