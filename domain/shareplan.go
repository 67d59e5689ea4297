package domain

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxShares bounds the shares of a guest.
const MaxShares = 64

// maxPath is what a path may be long on Linux, in bytes (PATH_MAX without its
// final zero).
const maxPath = 4095

// ParseShares reads the values of vm.mounts, each "PATH", "PATH:ro" or
// "PATH:rw" (the default). Only these two endings are no part of the path; a
// path that ends like them is written with its mode. "~" and "~/..." are under
// home. The result is in the order in which it has to be mounted, a share after
// those that it lies in; what a share gives already, with the same mode, is left
// out. A value that cannot be shared is ErrInvalid.
func ParseShares(mounts []string, home string) ([]Share, error) {
	shares := make([]Share, 0, len(mounts))
	for _, m := range mounts {
		s, err := parseShare(m, home)
		if err != nil {
			return nil, err
		}
		shares = append(shares, s)
	}
	// A directory is a prefix of what lies in it and so comes before it.
	slices.SortFunc(shares, func(a, b Share) int { return cmp.Compare(a.Path, b.Path) })
	kept := make([]Share, 0, len(shares))
	for _, s := range shares {
		around, ok := shareOf(kept, s.Path)
		switch {
		case ok && around.ReadOnly == s.ReadOnly:
		case ok && around.Path == s.Path:
			return nil, badMount(s.Path, "is there both with ro and with rw")
		default:
			kept = append(kept, s)
		}
	}
	if len(kept) > MaxShares {
		return nil, kind(ErrInvalid, fmt.Sprintf("configuration key vm.mounts: %d directories are more than %d", len(kept), MaxShares))
	}
	return kept, nil
}

func parseShare(mount, home string) (Share, error) {
	p := strings.TrimLeft(mount, " \t") // of lists that are written with a space after the comma
	var s Share
	if before, ok := strings.CutSuffix(p, ":ro"); ok {
		p, s.ReadOnly = before, true
	} else {
		p = strings.TrimSuffix(p, ":rw")
	}
	if p == "~" || strings.HasPrefix(p, "~/") {
		if !path.IsAbs(home) {
			return Share{}, badMount(mount, "cannot be expanded: the home directory is not known")
		}
		p = home + p[1:]
	}
	switch {
	case strings.HasPrefix(p, "~"):
		return Share{}, badMount(mount, "begins with ~ and a name; only ~ and ~/ are expanded")
	case !path.IsAbs(p):
		return Share{}, badMount(mount, "is not an absolute path")
	case !utf8.ValidString(p):
		return Share{}, badMount(mount, "is not UTF-8")
	case strings.ContainsRune(p, 0):
		return Share{}, badMount(mount, "contains a zero byte")
	case len(p) > maxPath:
		return Share{}, kind(ErrInvalid, fmt.Sprintf("configuration key vm.mounts: a path of %d bytes is longer than %d", len(p), maxPath))
	}
	s.Path = path.Clean(p)
	if neededByGuest(s.Path) {
		return Share{}, WithHint(badMount(s.Path, "cannot be shared: the virtual machine needs its own"), "name the directories in it that containers use")
	}
	return s, nil
}

func badMount(value, what string) error {
	return kind(ErrInvalid, fmt.Sprintf("configuration key vm.mounts: %s %s", showPath(value), what))
}

// neededByGuest reports whether a share at p would cover what the guest runs on.
func neededByGuest(p string) bool {
	for _, tree := range append(guestTrees(), "/arcbox", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec") {
		if Within(p, tree) || Within(tree, p) { // the other way round: a share that would cover it
			return true
		}
	}
	// Of these only what lies in them.
	return path.Dir(p) == "/" && (p == "/bin" || p == "/sbin" || p == "/etc" || p == "/var" || strings.HasPrefix(p, "/lib")) ||
		path.Dir(p) == "/usr" && strings.HasPrefix(p, "/usr/lib")
}

// guestTrees are directories that mean the guest's own, with all that is in
// them: they cannot be shared, and containers may bind them.
func guestTrees() []string {
	return []string{"/proc", "/sys", "/dev", "/run", "/var/run", "/etc/ssl/certs",
		"/var/lib/docker", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/rancher", "/var/lib/cni"}
}

// Within reports whether p is dir or lies in it. Both are absolute and clean.
func Within(p, dir string) bool {
	rest, ok := strings.CutPrefix(p, dir)
	return ok && (rest == "" || rest[0] == '/' || dir == "/")
}

// shareOf returns the innermost share that p lies in.
func shareOf(shares []Share, p string) (Share, bool) {
	var in Share
	for _, s := range shares {
		if Within(p, s.Path) && len(s.Path) > len(in.Path) {
			in = s
		}
	}
	return in, in.Path != ""
}

// showPath is a path for people: as it is, unless that would not be readable.
func showPath(p string) string {
	if p == "" || !utf8.ValidString(p) || strings.ContainsFunc(p, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Sprintf("%q", p)
	}
	return p
}
