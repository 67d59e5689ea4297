# shellcheck shell=bash
# Packages of one Debian release without touching the machine's own package
# system: a private apt with its own sources, state and cache, usable by an
# ordinary user. Packages are downloaded and unpacked, never installed, and no
# maintainer script runs.

DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# Prints the release's sources, derived from the machine's own: whatever mirror
# it uses for its own Debian release (main archive, updates, security) also
# carries the one that is wanted. A machine that does not run Debian has no such
# sources; there, ARCBOX_DEBIAN_MIRROR is the address of a main archive.
debian_sources() {
    local suite=$1 own
    if [[ -n ${ARCBOX_DEBIAN_MIRROR-} ]]; then
        printf 'deb [signed-by=%s] %s %s main\n' "$DEBIAN_KEYRING" "$ARCBOX_DEBIAN_MIRROR" "$suite"
        return
    fi
    # shellcheck source=/dev/null
    own=$(source /etc/os-release && [[ ${ID-} == debian ]] && echo "${VERSION_CODENAME-}") || return 0
    (
        shopt -s nullglob
        # deb822 files: stanzas separated by empty lines.
        for f in /etc/apt/sources.list.d/*.sources; do
            awk -v RS='' -v FS='\n' '{
                types = uris = suites = components = ""; enabled = 1
                for (i = 1; i <= NF; i++) {
                    value = $i; sub(/^[^:]*:[ \t]*/, "", value)
                    if ($i ~ /^Types:/) types = value
                    if ($i ~ /^URIs:/) uris = value
                    if ($i ~ /^Suites:/) suites = value
                    if ($i ~ /^Components:/) components = value
                    if ($i ~ /^Enabled:[ \t]*no/) enabled = 0
                }
                if (!enabled || types !~ /(^| )deb( |$)/ || components !~ /(^| )main( |$)/) next
                nu = split(uris, u, " "); ns = split(suites, s, " ")
                for (i = 1; i <= nu; i++) for (j = 1; j <= ns; j++) print u[i], s[j]
            }' "$f"
        done
        # one-line files
        for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
            [[ -f $f ]] || continue
            sed -n 's/^[ \t]*deb[ \t]\{1,\}\(\[[^]]*\][ \t]*\)\{0,1\}\([^ \t]\{1,\}\)[ \t]\{1,\}\([^ \t]\{1,\}\)[ \t].*\bmain\b.*/\2 \3/p' "$f"
        done
    ) | awk -v own="$own" -v want="$suite" -v key="$DEBIAN_KEYRING" '
        $2 == own || $2 == own "-updates" || $2 == own "-security" {
            if (seen[$0]++) next
            print "deb [signed-by=" key "] " $1 " " want substr($2, length(own) + 1) " main"
        }'
}

# Prepares the private apt (once) and refreshes its lists when they are older
# than six hours. Sets APT_CONFIG for what follows.
debian_open() {
    local suite=$1 root=$CACHE_DIR/apt-$1 sources
    [[ -r $DEBIAN_KEYRING ]] || {
        echo "error: $DEBIAN_KEYRING is missing: run images/deps.sh" >&2
        return 1
    }
    mkdir -p "$root"/etc/apt/apt.conf.d "$root"/etc/apt/preferences.d "$root"/var/lib/dpkg "$root"/var/lib/apt/lists/partial "$root"/var/cache/apt/archives/partial
    # An empty package status: the closure of what is asked for is complete,
    # whatever the build machine has installed.
    : >"$root/var/lib/dpkg/status"
    sources=$(debian_sources "$suite")
    [[ -n $sources ]] || {
        echo "error: this machine's apt sources name no Debian mirror: set ARCBOX_DEBIAN_MIRROR to the address of one" >&2
        return 1
    }
    {
        # The machine's proxy and time-check settings hold here as well.
        env -u APT_CONFIG apt-config dump | grep -E '^Acquire::(https?|[Cc]heck-|Retries|ForceIPv)' || true
        cat <<CONF
Dir "$root";
Dir::State "var/lib/apt";
Dir::State::status "$root/var/lib/dpkg/status";
Dir::Cache "var/cache/apt";
Dir::Etc "etc/apt";
Dir::Log "$root";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
CONF
    } >"$root/apt.conf"
    export APT_CONFIG=$root/apt.conf
    if [[ $sources != "$(cat "$root/etc/apt/sources.list" 2>/dev/null || true)" ]]; then
        echo "$sources" >"$root/etc/apt/sources.list"
        rm -f "$root/fresh"
    fi
    if [[ -z $(find "$root/fresh" -mmin -360 2>/dev/null || true) ]]; then
        apt-get -q update
        touch "$root/fresh"
    fi
}

# debian_unpack SUITE DEST LIST [-nodeps] PACKAGE...
# Unpacks the packages (and, unless told otherwise, all that they depend on)
# into DEST and writes LIST: one "name version sha256" line per package.
debian_unpack() (
    suite=$1 dest=$2 list=$3
    shift 3
    deps=yes
    if [[ $1 == -nodeps ]]; then
        deps=no
        shift
    fi
    mkdir -p "$CACHE_DIR" "$dest"
    exec 8>"$CACHE_DIR/apt-$suite.lock"
    flock 8
    debian_open "$suite"
    debs=$(mktemp -d "$CACHE_DIR/debs.XXXXXX")
    trap 'rm -rf "$debs"' EXIT
    if [[ $deps == yes ]]; then
        apt-get -q -y --download-only -o Dir::Cache::archives="$debs" install "$@"
    else
        (cd "$debs" && apt-get -q download "$@")
    fi
    : >"$list"
    for deb in "$debs"/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner -C "$dest"
        printf '%s %s %s\n' "$(dpkg-deb -f "$deb" Package)" "$(dpkg-deb -f "$deb" Version)" "$(sha256sum <"$deb" | cut -d' ' -f1)" >>"$list"
    done
    LC_ALL=C sort -o "$list" "$list"
)
