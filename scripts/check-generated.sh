#!/usr/bin/env bash
# Generates everything again in a copy and fails when the result differs from
# what is checked in.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -cf - 2>/dev/null | tar -xf - -C "$copy"
make -s -C "$copy" generate >&2
if ! diff -r -q -x '*.proto' api "$copy/api" || ! diff -r -q application/port/mock "$copy/application/port/mock" ||
    ! diff -q docs/api.md "$copy/docs/api.md"; then
    echo "generated code is stale: run make generate" >&2
    exit 1
fi
if ! diff -r -q docs "$copy/docs"; then
    echo "the references of commands and configuration are stale: run go run ./cmd/arcbox/docs" >&2
    exit 1
fi
