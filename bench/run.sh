#!/usr/bin/env bash
# Measures a daemon of its own on a data directory of its own; the raw figures
# and the table go to build/bench/. Arguments go to the program: -only boot,bulk
# measures parts, -rounds 3 repeats boots less often.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${ARCBOX_TEST_BIN:?set it to the bin directory of the clone, or use make bench}"
mkdir -p build/bench
CGO_ENABLED=0 go build -trimpath -o build/bench/arcbox-bench ./bench/arcbox-bench
debian=$(bench/debian.sh)
exec build/bench/arcbox-bench -bin "$ARCBOX_TEST_BIN" -out build/bench -debian "$debian" "$@"
