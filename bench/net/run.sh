#!/usr/bin/env bash
# Measures published ports, the names and their peers. Figures and tables go to
# build/bench/net/. Arguments go to the program: -only forward,late measures
# parts, -peers tap,passt compares with some, -rounds 3 is quicker.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${ARCBOX_TEST_BIN:?set it to the bin directory of the clone, or use make bench}"
out=$PWD/build/bench/net
mkdir -p "$out"
bench/net/prepare.sh "$out"
CGO_ENABLED=0 go build -trimpath -o "$out/netbench" ./bench/net/netbench
exec "$out/netbench" -bin "$ARCBOX_TEST_BIN" -out "$out" "$@"
