package assets

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"arcbox/adapters/internal/hostfile"
	"arcbox/domain"
)

const (
	maxBundle        = 16 << 30 // bytes, unpacked
	maxBundleEntries = 10_000
	maxZstdWindow    = 128 << 20
)

// bundleSource is an asset set in one tar file. It is indexed on first use; a
// compressed one is unpacked to a nameless temporary file for that.
type bundleSource struct {
	path       string
	compressed bool
	tempDir    string

	mu    sync.Mutex
	open  *os.File // of the tar, unpacked
	tag   string   // of the bundle file that open comes from
	files map[string]span
}

type span struct{ offset, size int64 }

func (b *bundleSource) Describe() string { return b.path }

func (b *bundleSource) Fetch(ctx context.Context, name string, offset int64, validator string) (io.ReadCloser, int64, int64, string, error) {
	fail := func(err error) (io.ReadCloser, int64, int64, string, error) {
		return nil, 0, 0, "", fmt.Errorf("bundle %s: %w", b.path, err)
	}
	rel, err := relativePath(name)
	if err != nil {
		return fail(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.load(ctx); err != nil {
		return fail(err)
	}
	s, ok := b.files[rel]
	if !ok {
		return fail(fmt.Errorf("%s is not in it: %w", name, domain.ErrNotFound))
	}
	if validator != b.tag || offset > s.size {
		offset = 0
	}
	r := io.NewSectionReader(b.open, s.offset+offset, s.size-offset)
	return io.NopCloser(r), offset, s.size, b.tag, nil
}

// Close gives the unpacked bundle's space back. Readers must be done.
func (b *bundleSource) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.drop()
}

func (b *bundleSource) drop() error {
	if b.open == nil {
		return nil
	}
	err := b.open.Close()
	b.open, b.files, b.tag = nil, nil, ""
	return err
}

// load indexes the bundle, again when the file has been replaced.
func (b *bundleSource) load(ctx context.Context) error {
	fi, err := os.Stat(b.path)
	if err != nil {
		return fileError(err)
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("not a regular file: %w", domain.ErrInvalid)
	}
	if b.open != nil && b.tag == fileValidator(fi) {
		return nil
	}
	if err := b.drop(); err != nil {
		return err
	}
	f, err := os.Open(b.path)
	if err != nil {
		return fileError(err)
	}
	if b.compressed {
		plain, err := unpack(ctx, f, b.tempDir)
		f.Close()
		if err != nil {
			return err
		}
		f = plain
	}
	files, err := indexTar(ctx, f)
	if err != nil {
		f.Close()
		return err
	}
	b.open, b.files, b.tag = f, files, fileValidator(fi)
	return nil
}

// unpack returns a file without a name, so that nothing is left behind however
// the process ends.
func unpack(ctx context.Context, f *os.File, tempDir string) (*os.File, error) {
	dec, err := zstd.NewReader(hostfile.Reader(ctx, f), zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	tmp, err := os.CreateTemp(tempDir, "arcbox-bundle-*.tar")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(tmp.Name()); err != nil {
		tmp.Close()
		return nil, err
	}
	n, err := io.Copy(tmp, io.LimitReader(dec, maxBundle+1))
	switch {
	case err == nil && n > maxBundle:
		err = fmt.Errorf("more than %d bytes unpacked: %w", int64(maxBundle), domain.ErrInvalid)
	case err != nil && context.Cause(ctx) != nil:
		err = context.Cause(ctx)
	case err != nil && !hostfile.Full(err):
		err = fmt.Errorf("unpacking: %w: %w", domain.ErrCorrupt, err)
	case err != nil:
		err = hostfile.Fault(err)
	}
	if err != nil {
		tmp.Close()
		return nil, err
	}
	return tmp, nil
}

// indexTar finds where the content of each regular file begins. Names are
// relative to the directory that the manifest is in.
func indexTar(ctx context.Context, f *os.File) (map[string]span, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	all := map[string]span{}
	root, depth := "", -1
	tr := tar.NewReader(f)
	for n := 0; ; n++ {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading the archive: %w: %w", domain.ErrCorrupt, err)
		}
		if n == maxBundleEntries {
			return nil, fmt.Errorf("more than %d entries: %w", maxBundleEntries, domain.ErrInvalid)
		}
		if h.Typeflag != tar.TypeReg || h.PAXRecords["GNU.sparse.major"] != "" {
			continue // the content of a sparse entry is not in one piece
		}
		// The tar reader takes whole blocks and no more, so the file stands
		// where the content begins.
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "./"))
		if path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
			return nil, fmt.Errorf("entry %q leads out of the archive: %w", h.Name, domain.ErrInvalid)
		}
		all[name] = span{at, h.Size}
		if d := strings.Count(name, "/"); path.Base(name) == domain.ManifestFile && (depth < 0 || d < depth) {
			root, depth = strings.TrimSuffix(name, domain.ManifestFile), d
		}
	}
	if depth < 0 {
		return nil, fmt.Errorf("it has no %s: %w", domain.ManifestFile, domain.ErrInvalid)
	}
	files := make(map[string]span, len(all))
	for name, s := range all {
		if rel, ok := strings.CutPrefix(name, root); ok {
			files[rel] = s
		}
	}
	return files, nil
}
