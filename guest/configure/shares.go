package configure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"arcbox/domain"
)

// Mounted is a share that is there.
type Mounted struct {
	domain.Share
	// Dir is the same directory beside the others, where nothing that is mounted
	// on it is in the way.
	Dir string
}

// Mounts mounts; Kernel does it in a guest.
type Mounts interface {
	// Tag mounts the file system of shares.
	Tag(tag, target string) error
	// Bind has a directory at a second place, where writing can be refused.
	Bind(source, target string, readOnly bool) error
	// Unmount takes a mount away, at once for those who look, and at last when
	// nobody uses it any more.
	Unmount(target string) error
}

// shares are the host's directories. Nested ones make their order matter, so
// the list is a stack.
type shares struct {
	dir    string
	mounts Mounts
	tagged bool
	stack  []placed
}

// placed is one share of the present list, whether or not it could be mounted.
type placed struct {
	Mounted
	ok bool
}

// set mounts what is wanted and unmounts what is not. The error names every
// share that is not there; another call tries them again.
func (s *shares) set(wanted []domain.Share) error {
	if keep := kept(s.stack, wanted); keep < len(s.stack) {
		if err := s.unmount(keep); err != nil {
			return err
		}
	}
	wanted = wanted[len(s.stack):]
	if len(wanted) == 0 {
		return nil
	}
	tagErr := s.mountTag()
	var problems []error
	for _, w := range wanted {
		dir := filepath.Join(s.dir, strconv.Itoa(len(s.stack)))
		p := placed{Mounted: Mounted{w, dir}}
		err := tagErr
		if err == nil {
			err = s.mount(p)
		}
		if p.ok = err == nil; !p.ok {
			problems = append(problems, fmt.Errorf("share %s: %w", w.Path, err))
		}
		s.stack = append(s.stack, p)
	}
	return errors.Join(problems...)
}

// kept is how many of the first ones can stay: those that are there and are
// wanted as they are. What comes after one that is not could be covered by it.
func kept(stack []placed, wanted []domain.Share) int {
	n := 0
	for n < len(stack) && n < len(wanted) && stack[n].ok && stack[n].Share == wanted[n] {
		n++
	}
	return n
}

// unmount takes away all but the first ones, the last one first.
func (s *shares) unmount(keep int) error {
	for i := len(s.stack) - 1; i >= keep; i-- {
		if s.stack[i].ok {
			if err := s.mounts.Unmount(s.stack[i].Path); err != nil {
				return fmt.Errorf("take the share %s away: %w", s.stack[i].Path, err)
			}
		}
		s.stack = s.stack[:i]
	}
	return nil
}

func (s *shares) mountTag() error {
	if s.tagged {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := s.mounts.Tag(domain.ShareTag, s.dir); err != nil {
		return fmt.Errorf("mount the file system %q of the host: %w", domain.ShareTag, err)
	}
	s.tagged = true
	return nil
}

func (s *shares) mount(p placed) error {
	if err := os.MkdirAll(p.Path, 0o755); err != nil {
		return err
	}
	// A link of the guest would lead the mount elsewhere.
	real, err := filepath.EvalSymlinks(p.Path)
	switch {
	case err != nil:
		return err
	case real != p.Path:
		return fmt.Errorf("in the guest this path leads to %s", real)
	}
	return s.mounts.Bind(p.Dir, p.Path, p.ReadOnly)
}

func (s *shares) list() []Mounted {
	list := make([]Mounted, 0, len(s.stack))
	for _, p := range s.stack {
		if p.ok {
			list = append(list, p.Mounted)
		}
	}
	return slices.Clip(list)
}
