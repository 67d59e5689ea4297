package store

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// imageTree presents the members as the file system that the image will be:
// nothing but their directories, everything root's with mode 0755 and the same
// time, so that the host's ways do not show in the image.
type imageTree struct {
	ctx     context.Context
	files   map[string]member
	dirs    map[string][]fs.DirEntry // sorted
	readers []*memberReader          // every file that was opened
}

var _ fs.FS = (*imageTree)(nil)

func newImageTree(ctx context.Context, members []member) *imageTree {
	t := &imageTree{ctx: ctx, files: map[string]member{}, dirs: map[string][]fs.DirEntry{".": nil}}
	for _, m := range members {
		t.files[m.inside] = m
		t.add(m.inside, entry{name: path.Base(m.inside), size: m.info.Size()})
	}
	return t
}

func (t *imageTree) add(name string, e entry) {
	dir := path.Dir(name)
	if _, ok := t.dirs[dir]; !ok {
		t.dirs[dir] = nil
		t.add(dir, entry{name: path.Base(dir), dir: true})
	}
	t.dirs[dir] = append(t.dirs[dir], e)
	slices.SortFunc(t.dirs[dir], func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
}

// Open implements fs.FS.
func (t *imageTree) Open(name string) (fs.File, error) {
	if list, ok := t.dirs[name]; ok {
		return &dirFile{entry{name: path.Base(name), dir: true}, list}, nil
	}
	m, ok := t.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f, err := os.Open(m.host)
	if err != nil {
		return nil, err
	}
	r := &memberReader{ctx: t.ctx, m: m, f: f, hash: sha256.New()}
	t.readers = append(t.readers, r)
	return r, nil
}

// close closes what the image's writer left open.
func (t *imageTree) close() {
	for _, r := range t.readers {
		r.f.Close()
	}
}

// memberReader gives a file's content and takes note of it.
type memberReader struct {
	ctx  context.Context
	m    member
	f    *os.File
	hash hash.Hash
	read int64
}

func (r *memberReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	n, err := r.f.Read(p)
	r.hash.Write(p[:n])
	r.read += int64(n)
	return n, err
}

func (r *memberReader) Stat() (fs.FileInfo, error) {
	return entry{name: path.Base(r.m.inside), size: r.m.info.Size()}, nil
}
func (r *memberReader) Close() error { return r.f.Close() }

// entry is a file or directory as it will be in the image.
type entry struct {
	name string
	size int64
	dir  bool
}

func (e entry) Name() string               { return e.name }
func (e entry) Size() int64                { return e.size }
func (e entry) ModTime() time.Time         { return time.Unix(0, 0) }
func (e entry) IsDir() bool                { return e.dir }
func (e entry) Sys() any                   { return nil }
func (e entry) Type() fs.FileMode          { return e.Mode().Type() }
func (e entry) Info() (fs.FileInfo, error) { return e, nil }
func (e entry) Mode() fs.FileMode {
	if e.dir {
		return fs.ModeDir | 0o755
	}
	return 0o755
}

type dirFile struct {
	entry
	rest []fs.DirEntry
}

func (d *dirFile) Stat() (fs.FileInfo, error) { return d.entry, nil }
func (d *dirFile) Read([]byte) (int, error)   { return 0, fs.ErrInvalid }
func (d *dirFile) Close() error               { return nil }

func (d *dirFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(d.rest)
	} else if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	out := d.rest[:n]
	d.rest = d.rest[n:]
	return out, nil
}
