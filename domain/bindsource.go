package domain

import (
	"fmt"
	"path"
	"strings"
)

// BindRules is what a container of a guest may bind.
type BindRules struct {
	// Shares are those of the guest, as ParseShares returns them.
	Shares []Share
	// DataDir is ArcBox's own directory: no guest sees it.
	DataDir string
	// Sockets are Unix sockets of the host, by their paths, that the guest has
	// at another path.
	Sockets map[string]string
}

// Bind is what becomes of a bind source.
type Bind struct {
	// Source is what the guest's engine has to bind. With Offer it is the path of
	// a Unix socket on the host, inside a writable share: the engine gets the path
	// at which the guest is offered it.
	Source string
	Offer  bool
}

// Judge decides about one absolute bind source. What it refuses, and what
// inspect cannot follow, is ErrInvalid; a hint says what the user can do.
func (r BindRules) Judge(source string, inspect func(string) (HostPath, error)) (Bind, error) {
	p := path.Clean(source) // as dockerd does, before links are followed
	if guest, ok := r.Sockets[p]; ok {
		return Bind{Source: guest}, nil
	}
	named, inShare := shareOf(r.Shares, p)
	if !inShare && ownedByGuest(p) {
		return Bind{Source: source}, nil
	}
	found, err := inspect(p)
	if err != nil {
		if !inShare {
			return Bind{}, r.notShared(p)
		}
		return Bind{}, kind(ErrInvalid, fmt.Sprintf("bind source: %v", err))
	}
	if found.Kind == HostPathSocket {
		for host, guest := range r.Sockets {
			if h, err := inspect(host); err == nil && h.Resolved == found.Resolved {
				return Bind{Source: guest}, nil
			}
		}
	}
	if r.hidden(p, found.Resolved, inspect) {
		return Bind{}, WithHint(kind(ErrInvalid, fmt.Sprintf("bind source %s belongs to ArcBox and is not given to containers", showPath(p))),
			"the engine's socket is /var/run/docker.sock")
	}
	target, root, ok := r.shareOfResolved(found.Resolved, inspect)
	switch {
	case !ok && inShare:
		return Bind{}, WithHint(kind(ErrInvalid, fmt.Sprintf("bind source %s leads to %s, which is not shared with the virtual machine",
			showPath(p), showPath(found.Resolved))), r.cure(found.Resolved))
	case !ok:
		return Bind{}, r.notShared(p)
	}
	inGuest := path.Join(target.Path, strings.TrimPrefix(found.Resolved, root))
	if found.Kind == HostPathSocket {
		if target.ReadOnly || named.ReadOnly {
			return Bind{}, WithHint(kind(ErrInvalid, fmt.Sprintf("bind source %s is a socket in a directory that is shared read-only, and whoever connects to a socket changes more than it can read",
				showPath(p))), "share its directory without :ro in vm.mounts and restart the daemon")
		}
		return Bind{Source: inGuest, Offer: true}, nil
	}
	// The guest follows the links inside of shares by itself, each time that the
	// container starts. Those on the way to a share it does not have.
	if inShare && target.Path == root {
		return Bind{Source: source}, nil
	}
	if inGuest == p {
		inGuest = source
	}
	return Bind{Source: inGuest}, nil
}

// shareOfResolved returns the innermost share that a path without links lies
// in, and the share's own path without links.
func (r BindRules) shareOfResolved(p string, inspect func(string) (HostPath, error)) (in Share, root string, ok bool) {
	for _, s := range r.Shares {
		h, err := inspect(s.Path)
		if err == nil && Within(p, h.Resolved) && len(h.Resolved) > len(root) {
			in, root = s, h.Resolved
		}
	}
	return in, root, root != ""
}

// hidden reports whether a path, or what it leads to, is in the data directory.
func (r BindRules) hidden(p, resolved string, inspect func(string) (HostPath, error)) bool {
	if r.DataDir == "" {
		return false
	}
	if Within(p, r.DataDir) || Within(resolved, r.DataDir) {
		return true
	}
	own, err := inspect(r.DataDir)
	return err == nil && Within(resolved, own.Resolved)
}

func (r BindRules) notShared(p string) error {
	return WithHint(kind(ErrInvalid, fmt.Sprintf("bind source %s is not shared with the virtual machine", showPath(p))), r.cure(p))
}

// cure says how p comes into the guest.
func (r BindRules) cure(p string) string {
	if neededByGuest(p) {
		return "the virtual machine has its own in that place: copy what the container needs to a directory of vm.mounts, now " + r.shared()
	}
	return fmt.Sprintf("add it to vm.mounts, now %s, and restart the daemon", r.shared())
}

func (r BindRules) shared() string {
	if len(r.Shares) == 0 {
		return "empty"
	}
	var names []string
	for _, s := range r.Shares[:min(len(r.Shares), 8)] {
		name := showPath(s.Path)
		if s.ReadOnly {
			name += ":ro"
		}
		names = append(names, name)
	}
	if len(names) < len(r.Shares) {
		names = append(names, "...")
	}
	return strings.Join(names, " ")
}

// ownedByGuest reports whether a bind of p means the guest's own: its kernel,
// its services' sockets and data, its certificates and its clock. /run/user holds
// sockets of the host's user, which no guest has.
func ownedByGuest(p string) bool {
	if p == "/" {
		return true
	}
	if Within(p, "/run/user") || Within(p, "/var/run/user") {
		return false
	}
	for _, tree := range append(guestTrees(), "/lib/modules", "/etc/localtime", "/etc/timezone") {
		if Within(p, tree) {
			return true
		}
	}
	return false
}
