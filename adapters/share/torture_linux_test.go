package share

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/domain"
)

// torture does random operations through the device and to a plain directory, and
// has both be the same.
type torture struct {
	t     *testing.T
	g     *guest
	r     *rand.Rand
	plain string
}

var tortureNames = []string{"a", "b", "c", "long name ü", ".d"}

// some is a random path, of which usually nothing exists.
func (o *torture) some() []string {
	var p []string
	for range 1 + o.r.IntN(3) {
		p = append(p, tortureNames[o.r.IntN(len(tortureNames))])
	}
	return p
}

// find is the directory of a path, and whether there is one.
func (o *torture) find(p []string) (uint64, string, unix.Errno) {
	at := o.g.walk("0")
	for _, n := range p[:len(p)-1] {
		e, errno := o.g.lookup(at, n)
		if errno != 0 {
			return 0, "", errno
		}
		switch e.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
		case unix.S_IFLNK:
			return 0, "", unix.ENOENT // as the host follows it
		default:
			return 0, "", unix.ENOTDIR
		}
		at = e.NodeId
	}
	return at, p[len(p)-1], 0
}

func (o *torture) host(p []string) string { return filepath.Join(append([]string{o.plain}, p...)...) }

func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	return unix.Errno(status(err))
}

func (o *torture) step() (what string, guest, host unix.Errno) {
	g, p := o.g, o.some()
	dir, last, missing := o.find(p)
	do := func(f func() unix.Errno) unix.Errno {
		if missing != 0 {
			return missing
		}
		return f()
	}
	path := o.host(p)
	switch o.r.IntN(9) {
	case 0:
		return "mkdir " + path, do(func() unix.Errno { return second(g.mkdir(dir, last, 0o755)) }), errnoOf(unix.Mkdir(path, 0o755))
	case 1:
		return "rmdir " + path, do(func() unix.Errno { return g.remove(opRmdir, dir, last) }), errnoOf(unix.Rmdir(path))
	case 2:
		return "unlink " + path, do(func() unix.Errno { return g.remove(opUnlink, dir, last) }), errnoOf(unix.Unlink(path))
	case 3, 4:
		q := o.some()
		flags := []uint32{0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}[o.r.IntN(3)]
		to, name, missing2 := o.find(q)
		return "rename " + path + " " + o.host(q), do(func() unix.Errno {
			if missing2 != 0 {
				return missing2
			}
			return g.rename(dir, last, to, name, flags)
		}), errnoOf(unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, o.host(q), uint(flags)))
	case 5:
		q := o.some()
		to, name, missing2 := o.find(q)
		return "link " + path + " " + o.host(q), do(func() unix.Errno {
			e, errno := g.lookup(dir, last)
			switch {
			case errno != 0:
				return errno
			case missing2 != 0:
				return missing2
			}
			return second(g.link(e.NodeId, to, name))
		}), errnoOf(unix.Linkat(unix.AT_FDCWD, path, unix.AT_FDCWD, o.host(q), 0))
	case 6:
		return "symlink " + path, do(func() unix.Errno { return second(g.symlink(dir, last, "target")) }), errnoOf(unix.Symlink("target", path))
	default:
		return o.write(path, dir, last, do)
	}
}

// write writes at a random offset, past the end too, and truncates.
func (o *torture) write(path string, dir uint64, last string, do func(func() unix.Errno) unix.Errno) (string, unix.Errno, unix.Errno) {
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return "no file", 0, 0
	}
	data := strings.Repeat(string(rune('a'+o.r.IntN(26))), 1+o.r.IntN(3000))
	at, size := int64(o.r.IntN(5000)), int64(o.r.IntN(6000))
	guest := do(func() unix.Errno {
		e, fh, errno := o.g.create(dir, last, unix.O_RDWR, 0o644)
		if errno != 0 {
			return errno
		}
		defer o.g.release(opRelease, e.NodeId, fh)
		if _, errno := o.g.write(e.NodeId, fh, uint64(at), unix.O_RDWR, data); errno != 0 {
			return errno
		}
		return second(o.g.setattr(e.NodeId, fuse.SetAttrInCommon{Valid: fuse.FATTR_SIZE, Size: uint64(size)}))
	})
	host := errnoOf(func() error {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte(data), at); err != nil {
			return err
		}
		return f.Truncate(size)
	}())
	return "write " + path, guest, host
}

func TestTortureAgainstAPlainDirectory(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			shared, plain := t.TempDir(), t.TempDir()
			g, s := mounted(t, Options{}, func(sh *Shares) { sh.budget.files = 3 }, domain.Share{Path: shared})
			o := &torture{t: t, g: g, r: rand.New(rand.NewPCG(seed, 1)), plain: plain}
			for i := range 1500 {
				what, guest, host := o.step()
				require.Equal(t, host, guest, "step %d: %s", i, what)
				if i%100 == 0 {
					o.compare(shared)
				}
			}
			o.compare(shared)
			require.LessOrEqual(t, s.files.tree.open, 3+2)
		})
	}
}

func (o *torture) compare(shared string) {
	got, want := map[string]string{}, map[string]string{}
	for p, v := range picture(o.t, shared) {
		got[strings.TrimPrefix(p, shared)] = v
	}
	for p, v := range picture(o.t, o.plain) {
		want[strings.TrimPrefix(p, o.plain)] = v
	}
	delete(got, "")
	delete(want, "")
	require.Equal(o.t, want, got)
}

// Requests of many processes of the guest at once, with few descriptors.
func TestConcurrentRequests(t *testing.T) {
	dir := t.TempDir()
	g, _ := mounted(t, Options{}, func(sh *Shares) { sh.budget.files = 6 }, domain.Share{Path: dir})
	share := g.walk("0")
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			me := &guest{t: t, transport: g.transport}
			for i := range 60 {
				d, errno := me.mkdir(share, fmt.Sprintf("d%d-%d", w, i), 0o755)
				if errno != 0 {
					t.Errorf("mkdir: %v", errno)
					return
				}
				e, fh, errno := me.create(d.NodeId, "f", unix.O_RDWR, 0o644)
				if errno != 0 {
					t.Errorf("create: %v", errno)
					return
				}
				me.write(e.NodeId, fh, 0, unix.O_RDWR, "data")
				me.lookup(share, fmt.Sprintf("d%d-%d", (w+1)%8, i))
				me.rename(d.NodeId, "f", share, fmt.Sprintf("f%d", i%5), 0)
				me.forget(e.NodeId, 1)
				if got, errno := me.read(e.NodeId, fh, 0, 10); got != "data" || errno != 0 {
					t.Errorf("read: %q, %v", got, errno)
				}
				me.release(opRelease, e.NodeId, fh)
				me.remove(opRmdir, share, fmt.Sprintf("d%d-%d", w, i))
			}
		})
	}
	wg.Wait()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 5)
}
