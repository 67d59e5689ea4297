#!/usr/bin/env bash
# Measures a daemon of its own on a data directory of its own; the raw figures
# go to build/bench/.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${ARCBOX_TEST_BIN:?set it to the clone\'s bin directory, or use make bench}"
mkdir -p build/bench
CGO_ENABLED=0 go build -trimpath -o build/bench/arcbox-bench ./bench/arcbox-bench
exec build/bench/arcbox-bench -bin "$ARCBOX_TEST_BIN" -out build/bench
