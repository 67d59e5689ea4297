#!/bin/sh
# Prints the launchd agent for a program and a data directory, both absolute.
# With what macOS brings along: sh and awk.
set -eu

usage() { echo "usage: launchagent.sh LABEL PROGRAM DATA_DIR" >&2; exit 2; }
[ $# = 3 ] || usage
case $1 in *[!A-Za-z0-9.-]* | '') usage ;; esac
newline='
'
for path in "$2" "$3"; do
	case $path in
	*"$newline"*) echo "launchagent.sh: a path with a line break" >&2; exit 2 ;;
	/*) ;;
	*) echo "launchagent.sh: $path is not absolute" >&2; exit 2 ;;
	esac
done

LABEL=$1 PROGRAM=$2 DATA_DIR=$3 LC_ALL=C exec awk '
# By position and not with gsub, which gives & and \ in the replacement a meaning.
function replace(s, old, new,    out, i) {
	while ((i = index(s, old)) > 0) {
		out = out substr(s, 1, i - 1) new
		s = substr(s, i + length(old))
	}
	return out s
}
function text(s) {
	s = replace(s, "&", "&amp;")
	s = replace(s, "<", "&lt;")
	return replace(s, ">", "&gt;")
}
/@[A-Z_]+@/ {
	# Each place once: what was put in is not looked at again.
	rest = $0
	line = ""
	while (match(rest, /@[A-Z_]+@/)) {
		name = substr(rest, RSTART + 1, RLENGTH - 2)
		line = line substr(rest, 1, RSTART - 1) text(ENVIRON[name])
		rest = substr(rest, RSTART + RLENGTH)
	}
	print line rest
	next
}
{ print }
' "$(dirname "$0")/launchagent.plist"
