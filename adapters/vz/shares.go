package vz

import (
	"fmt"
	"os"
	"path/filepath"

	"arcbox/domain"
)

// resolveShares returns t with the directories that its paths lead to. A path may be
// a link, as /tmp is on macOS: what a guest sees must not depend on what the framework
// does about the root of a share that is one.
//
// Errors: domain.ErrInvalid for what is no directory, with the path.
func resolveShares(t *SharedTree) (*SharedTree, error) {
	if t == nil {
		return nil, nil
	}
	out := &SharedTree{Tag: t.Tag, Directories: make([]SharedDirectory, 0, len(t.Directories))}
	for _, d := range t.Directories {
		real, err := filepath.EvalSymlinks(d.Path)
		if err != nil {
			return nil, fmt.Errorf("share %s: %w: %w", d.Path, domain.ErrInvalid, err)
		}
		switch st, err := os.Stat(real); {
		case err != nil:
			return nil, fmt.Errorf("share %s: %w: %w", d.Path, domain.ErrInvalid, err)
		case !st.IsDir():
			return nil, fmt.Errorf("share %s is no directory: %w", d.Path, domain.ErrInvalid)
		}
		d.Path = real
		out.Directories = append(out.Directories, d)
	}
	return out, nil
}
