package domain

// ShareTag names the one device over which a guest reaches shared directories:
// its root holds a directory for each Share, named by the share's index in
// decimal ("0", "1", ...).
const ShareTag = "arcbox"

// Share is a directory of the host that the guest has at the same path.
type Share struct {
	// Path is absolute and clean, on the host and in the guest.
	Path     string
	ReadOnly bool
}

// HostPathKind is what a path of the host leads to.
type HostPathKind string

// What paths lead to.
const (
	HostPathMissing   HostPathKind = "missing"
	HostPathDirectory HostPathKind = "directory"
	HostPathFile      HostPathKind = "file"
	HostPathSocket    HostPathKind = "socket"
	HostPathOther     HostPathKind = "other" // a device or a pipe
)

// HostPath is a path of the host as it is found there.
type HostPath struct {
	// Resolved has no symbolic links: of a path that is missing, those of its
	// deepest part that exists.
	Resolved string
	Kind     HostPathKind
}

// PathChange is a change on the host below a Share.
type PathChange struct {
	Path string // absolute and clean
	// Removed says that the path is gone; otherwise it is new or has another
	// content.
	Removed bool
}

// TouchUID is the file-system user id of the guest's agent when it only wants
// watchers in the guest to see a change of the host: a request with it changes
// nothing on the host, however it is answered. No distribution gives this id to
// anybody ("arcb" in ASCII).
const TouchUID uint32 = 0x61726362
