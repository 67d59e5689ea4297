#!/usr/bin/env bash
# Builds the guest twice from the same sources and compares every output: once
# with the caches of this user, once at another place with an empty cache, an
# empty Go build cache, another umask and another time zone. Only downloaded Go
# modules are shared, which the checksum database vouches for.
#
#   reproduce.sh            everything, with the agent and the manifest (as long
#                           as a first build takes: most of it is the kernel)
#   reproduce.sh STEP...    only these steps
#   reproduce.sh compare    only the table, for builds that are there already
#
# A difference fails the run unless README.md lists it, with the reason, below
# "Known differences". What differs is kept to be looked at. When Debian's archive
# has moved on since the first build, the two had different packages to begin
# with: the table says "packages", and the run fails as well, for nothing is shown.
set -euo pipefail

# shellcheck source=images/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SCRATCH=${CACHE_DIR%/guest}/reproduce
FIRST=$SCRATCH/first SECOND=$SCRATCH/second
NEEDED_GB=15

main() {
    local free
    mkdir -p "$SCRATCH"
    exec 6>"$SCRATCH.lock"
    flock -n 6 || die "another run of reproduce.sh uses $SCRATCH"
    if [[ ${1-} != compare ]]; then
        free=$(free_gb "$SCRATCH")
        ((free >= NEEDED_GB)) || die "$free GB are free for $SCRATCH, building a second time needs $NEEDED_GB"
        remove_tree "$SCRATCH"
        snapshot "$FIRST/clone"
        snapshot "$SECOND/and/other/clone"
        say "first build, with the usual caches"
        build "$FIRST/clone" "$@"
        say "second build, with empty caches"
        (
            umask 077
            export ARCBOX_CACHE=$SECOND/cache GOCACHE=$SECOND/go-build TZ=Asia/Tokyo
            build "$SECOND/and/other/clone" "$@"
        )
    fi
    compare "$FIRST/clone" "$SECOND/and/other/clone" || die "there are differences; what was built is below $SCRATCH and $CACHE_DIR"
    remove_tree "$SCRATCH"
}

# snapshot TO copies the sources, so that editing them changes neither build.
snapshot() {
    mkdir -p "$1"
    tar -C "$REPO_DIR" -c --exclude=./.git --exclude=./bin --exclude=./build . | tar -C "$1" -x
}

# build CLONE [STEP...]
build() (
    cd "$1"
    shift
    if (($# > 0)); then
        images/build.sh step "$@"
    else
        make --no-print-directory build-agent
        images/build.sh
    fi
)

# compare FIRST SECOND prints the table, and fails on differences not known.
compare() {
    local dir name f bad=0 count=0
    local -A moved=()
    printf '\n%-9s %-12s  %-12s  %s\n' result first second output
    for dir in "$SECOND"/cache/guest/*-????????????????/; do
        name=$(basename "$dir")
        if [[ -f $dir/debs.txt ]] && ! cmp -s "$CACHE_DIR/$name/debs.txt" "$dir/debs.txt"; then moved[${name%-*}]=$name; fi
        while read -r f; do
            compare_file "$CACHE_DIR/$name/$f" "$dir$f" "${name%-*}/$f"
        done < <(files_of "$CACHE_DIR/$name" "$dir")
    done
    # These two are of all packages.
    if ((${#moved[@]} > 0)); then moved[build]=yes; fi
    for f in bin/arcbox-agent bin/arcbox-proxy build/debs.txt build/assets/manifest.json; do
        [[ ! -e $1/$f && ! -e $2/$f ]] || compare_file "$1/$f" "$2/$f" "$f"
    done
    printf '%d outputs compared, %d differ for no known reason\n' "$count" "$bad"
    unset 'moved[build]'
    for name in "${!moved[@]}"; do
        printf "not shown for %s, Debian's packages are others than in the first build; remove %s and run again\n" "$name" "$CACHE_DIR/${moved[$name]}"
        diff "$CACHE_DIR/${moved[$name]}/debs.txt" "$SECOND/cache/guest/${moved[$name]}/debs.txt" | grep '^[<>]' || true
    done
    ((count > 0 && bad == 0 && ${#moved[@]} == 0))
}

# files_of DIR... lists the files that any of the directories holds.
files_of() {
    local d
    for d in "$@"; do
        [[ ! -d $d ]] || (cd "$d" && find . -type f -printf '%P\n')
    done | LC_ALL=C sort -u
}

# compare_file FIRST SECOND OUTPUT prints a row; counts in compare's variables,
# and looks there for the steps whose packages differ.
compare_file() {
    local one two result=same
    one=$(hash_of "$1") two=$(hash_of "$2")
    count=$((count + 1))
    if [[ $one != "$two" || $one == missing ]]; then
        if [[ -n ${moved[${3%%/*}]-} ]]; then
            result=packages
        elif is_known "$3"; then
            result=known
        else
            result=DIFFERS
            bad=$((bad + 1))
        fi
    fi
    printf '%-9s %-12.12s  %-12.12s  %s\n' "$result" "$one" "$two" "$3"
}

hash_of() {
    if [[ -f $1 ]]; then sha256sum <"$1" | cut -d' ' -f1; else echo missing; fi
}

# is_known OUTPUT succeeds if README.md has a row for it, with a reason.
is_known() {
    awk -v row="| \`$1\` | " '
        /^#/ { inside = ($0 ~ /Known differences$/) }
        inside && index($0, row) == 1 && length($0) > length(row) + 2 { found = 1 }
        END { exit !found }' "$IMAGES_DIR/README.md"
}

main "$@"; exit
