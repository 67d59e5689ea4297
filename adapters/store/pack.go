package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/erofs/go-erofs"

	"arcbox/adapters/internal/hostfile"
	"arcbox/domain"
)

const (
	imageExt       = ".erofs"
	tempPrefix     = ".runtime-image-"
	imageBlockSize = 4096
)

// pack writes the image under a temporary name, reads it back, and only then
// gives it its name. The same members give the same bytes.
func (d *Disks) pack(ctx context.Context, image string, members []member) error {
	tmp, err := os.CreateTemp(filepath.Dir(image), tempPrefix+"*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails after the rename, as it should
	defer tmp.Close()
	if err := writeImage(ctx, tmp, members); err != nil {
		return err
	}
	if err := checkImage(tmp, members); err != nil {
		return fmt.Errorf("reading the new image back: %w", err)
	}
	if err := tmp.Chmod(0o444); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), image); err != nil {
		return err
	}
	return hostfile.SyncDir(filepath.Dir(image))
}

func writeImage(ctx context.Context, out *os.File, members []member) error {
	tree := newImageTree(ctx, members)
	defer tree.close()
	w := erofs.Create(out, erofs.WithBlockSize(imageBlockSize), erofs.WithBuildTime(0, 0), erofs.WithTempDir(filepath.Dir(out.Name())))
	if err := w.CopyFrom(tree); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	// The image's name promises its content, so what was packed must be what
	// was hashed before.
	for _, r := range tree.readers {
		if r.read != r.m.info.Size() || hex.EncodeToString(r.hash.Sum(nil)) != r.m.sum {
			return fmt.Errorf("%s changed while it was packed: %w", r.m.host, domain.ErrConflict)
		}
	}
	return nil
}

// checkImage reads the image's tree and the first block of every file: enough
// to know that a guest can mount it and find its files.
func checkImage(f *os.File, members []member) error {
	img, err := erofs.Open(f)
	if err != nil {
		return fmt.Errorf("%w: %w", domain.ErrCorrupt, err)
	}
	for _, m := range members {
		if err := checkMember(img, m); err != nil {
			return fmt.Errorf("%s: %w", m.inside, err)
		}
	}
	return nil
}

func checkMember(img fs.FS, m member) error {
	packed, err := img.Open(m.inside)
	if err != nil {
		return fmt.Errorf("%w: %w", domain.ErrCorrupt, err)
	}
	defer packed.Close()
	fi, err := packed.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", domain.ErrCorrupt, err)
	}
	if !fi.Mode().IsRegular() || fi.Size() != m.info.Size() || fi.Mode().Perm() != 0o755 {
		return fmt.Errorf("packed as %s of %d bytes: %w", fi.Mode(), fi.Size(), domain.ErrCorrupt)
	}
	head := make([]byte, min(imageBlockSize, m.info.Size()))
	if _, err := packed.Read(head); err != nil && len(head) > 0 {
		return fmt.Errorf("%w: %w", domain.ErrCorrupt, err)
	}
	return nil
}
