package share

import (
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// hidden is a directory that the guest does not see wherever it comes across it.
// The zero value hides nothing.
type hidden struct {
	dev, ino             uint64
	parentDev, parentIno uint64
	base                 string
	above                []written // the directories on the way to it
}

// hide finds a directory; one that does not exist needs no hiding.
func hide(path string) (hidden, error) {
	if path == "" {
		return hidden{}, nil
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return hidden{}, err
	}
	var dir, parent unix.Statx_t
	if err := statAt(unix.AT_FDCWD, path, &dir); err != nil {
		return hidden{}, err
	}
	if err := statAt(unix.AT_FDCWD, filepath.Dir(path), &parent); err != nil {
		return hidden{}, err
	}
	h := hidden{
		dev: deviceOf(&dir), ino: dir.Ino, parentDev: deviceOf(&parent), parentIno: parent.Ino, base: filepath.Base(path),
	}
	for p := filepath.Dir(path); p != "/"; p = filepath.Dir(p) {
		var st unix.Statx_t
		if err := statAt(unix.AT_FDCWD, p, &st); err != nil {
			return hidden{}, err
		}
		h.above = append(h.above, fileOf(&st))
	}
	return h, nil
}

// leadsTo says whether a directory is on the way to the hidden one. A guest that
// moved it could put another in its place.
func (h *hidden) leadsTo(st *unix.Statx_t) bool { return slices.Contains(h.above, fileOf(st)) }

// is says whether a file is the hidden one.
func (h *hidden) is(st *unix.Statx_t) bool {
	return h.ino != 0 && st.Ino == h.ino && deviceOf(st) == h.dev
}

// lists says whether an entry of a directory is the hidden one. The name counts
// too, because a directory lists the number of what a mount covers.
func (h *hidden) lists(dev, dir uint64, name string, ino uint64) bool {
	return h.ino != 0 && (ino == h.ino && dev == h.dev || name == h.base && dir == h.parentIno && dev == h.parentDev)
}
