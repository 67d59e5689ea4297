#!/usr/bin/env bash
# Passes go test's output on. A run in which no test ran is a failure: it would
# otherwise look like a success.
set -euo pipefail
ran=0
while IFS= read -r line; do
    printf '%s\n' "$line"
    case $line in *'--- PASS: '*) ran=$((ran + 1)) ;; esac
done
if ((ran == 0)); then
    echo "no test ran" >&2
    exit 1
fi
