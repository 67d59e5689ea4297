package share

import (
	"errors"
	"strconv"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// OwnerAttribute is the extended attribute of a host's file that keeps the owner
// that it was given in the guest, as "uid:gid" in decimal.
const OwnerAttribute = "user.arcbox.owner"

// ownerNote is the owner that a file was given in the guest, as it was at a time
// of change: the host's attribute cannot change without that.
type ownerNote struct {
	known    bool
	changed  unix.StatxTimestamp
	given    bool
	fixed    bool // the host cannot keep it, so this is the only record
	uid, gid uint32
}

func parseOwner(s string) (uid, gid uint32, ok bool) {
	a, b, found := strings.Cut(s, ":")
	u, err1 := strconv.ParseUint(a, 10, 32)
	g, err2 := strconv.ParseUint(b, 10, 32)
	return uint32(u), uint32(g), found && err1 == nil && err2 == nil
}

func formatOwner(uid, gid uint32) string {
	return strconv.FormatUint(uint64(uid), 10) + ":" + strconv.FormatUint(uint64(gid), 10)
}

// holdsOwner says whether files of this kind can have the attribute.
func holdsOwner(kind uint32) bool { return kind == unix.S_IFREG || kind == unix.S_IFDIR }

// owner is the owner of a file that the guest sees.
func (f *passThrough) owner(n *node, st *unix.Statx_t) fuse.Owner {
	n.mu.Lock()
	note := n.owner
	n.mu.Unlock()
	if !note.fixed && !(note.known && note.changed == st.Ctime) {
		note = ownerNote{known: true, changed: st.Ctime}
		if holdsOwner(n.kind) && !f.plain(n.key.dev) {
			note.uid, note.gid, note.given = f.readOwner(n)
		}
		n.mu.Lock()
		if n.owner.fixed {
			note = n.owner
		} else {
			n.owner = note
		}
		n.mu.Unlock()
	}
	if note.given {
		return fuse.Owner{Uid: note.uid, Gid: note.gid}
	}
	o := fuse.Owner{Uid: st.Uid, Gid: st.Gid}
	if o.Uid == f.uid {
		o.Uid = 0
	}
	if o.Gid == f.gid {
		o.Gid = 0
	}
	return o
}

// readOwner reads the host's record.
func (f *passThrough) readOwner(n *node) (uid, gid uint32, ok bool) {
	var buf [24]byte
	size, err := f.getAttribute(n, OwnerAttribute, buf[:])
	if err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			f.noAttributes.Store(n.key.dev, true)
		}
		return 0, 0, false
	}
	return parseOwner(string(buf[:size]))
}

// getAttribute reads an attribute of a regular file or directory, which need not be
// opened when its directory is.
func (f *passThrough) getAttribute(n *node, name string, buf []byte) (int, error) {
	t := f.tree
	t.mu.Lock()
	at, closed := place{n.parent, n.name}, n.fd < 0
	t.mu.Unlock()
	if closed && at.parent != nil {
		dir, err := t.pin(at.parent)
		if err != nil {
			return 0, err
		}
		defer t.unpin(at.parent)
		return unix.Lgetxattr(procPath(dir)+"/"+at.name, name, buf)
	}
	fd, err := t.pin(n)
	if err != nil {
		return 0, err
	}
	defer t.unpin(n)
	return unix.Getxattr(procPath(fd), name, buf)
}

// plain says that a file system is known to keep no attributes.
func (f *passThrough) plain(dev uint64) bool {
	_, ok := f.noAttributes.Load(dev)
	return ok
}

// setOwner records an owner for a pinned file.
func (f *passThrough) setOwner(n *node, fd int, st *unix.Statx_t, uid, gid *uint32) {
	now := f.owner(n, st)
	if uid != nil {
		now.Uid = *uid
	}
	if gid != nil {
		now.Gid = *gid
	}
	err := error(unix.EOPNOTSUPP)
	if holdsOwner(n.kind) && !f.plain(n.key.dev) {
		err = unix.Setxattr(procPath(fd), OwnerAttribute, []byte(formatOwner(now.Uid, now.Gid)), 0)
	}
	n.mu.Lock()
	n.owner = ownerNote{fixed: err != nil, given: true, uid: now.Uid, gid: now.Gid}
	n.mu.Unlock()
}
