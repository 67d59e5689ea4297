#!/usr/bin/env bash
# Usage: check-config.sh WANTED RESULT
# Fails, naming them, if answers of WANTED are not what RESULT says. Kconfig
# drops an answer without a word when a dependency is missing or a symbol has
# been renamed; a driver that silently is not there shows up only much later.
set -euo pipefail

awk '
    function symbol(line) {
        if (line ~ /^# CONFIG_[A-Za-z0-9_]+ is not set$/) { name = $2; value = "n"; return 1 }
        if (line ~ /^CONFIG_[A-Za-z0-9_]+=/) {
            name = line; sub(/=.*/, "", name)
            value = line; sub(/^[^=]*=/, "", value)
            return 1
        }
        return 0
    }
    NR == FNR { if (symbol($0)) got[name] = value; next }
    symbol($0) {
        wanted++
        have = (name in got) ? got[name] : "n"
        if (have != value) { printf "lost: %s is %s, wanted %s\n", name, have, value; lost++ }
    }
    END {
        if (lost) { printf "error: %d of %d answers of the kernel configuration were lost\n", lost, wanted; exit 1 }
        printf "all %d answers of the kernel configuration hold\n", wanted
    }
' "$2" "$1"
