package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// tree carries operations out and says what came of them: two trees agree when
// their answers are equal.
type tree interface {
	apply(op) outcome
	// close gives back what is open.
	close()
}

// outcome is what an operation says to its caller.
type outcome struct {
	Err   unix.Errno
	Text  string // numbers and names
	Bytes []byte
	// Broken is a contradiction of the tree with itself; a right tree has none.
	Broken string
}

func (o outcome) equal(other outcome) bool {
	return o.Err == other.Err && o.Text == other.Text && bytes.Equal(o.Bytes, other.Bytes) && o.Broken == "" && other.Broken == ""
}

func (o outcome) String() string {
	s := "ok"
	if o.Err != 0 {
		s = unix.ErrnoName(o.Err)
	}
	if o.Text != "" {
		s += " " + o.Text
	}
	if o.Bytes != nil {
		s += fmt.Sprintf(" %d bytes", len(o.Bytes))
	}
	if o.Broken != "" {
		s += " BROKEN: " + o.Broken
	}
	return s
}

// fill is the content that an operation writes.
func (o op) fill() []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], o.Fill)
	data := make([]byte, o.Length)
	_, _ = rand.NewChaCha8(seed).Read(data) // never fails
	for i := range data {
		data[i] |= 1 // never 0, so that holes differ from it
	}
	return data
}

// dirTree is a directory of the file system under test, or of one that is
// known to be right.
type dirTree struct {
	root string
	open [slots]*os.File
}

func newDirTree(root string) *dirTree { return &dirTree{root: root} }

func (d *dirTree) close() {
	for i, f := range d.open {
		if f != nil {
			_ = f.Close()
			d.open[i] = nil
		}
	}
}

func (d *dirTree) at(path string) string { return filepath.Join(d.root, filepath.FromSlash(path)) }

func (g *generator) openFlags() int {
	flags := []int{unix.O_RDWR, unix.O_RDWR, unix.O_RDWR, unix.O_RDONLY}[g.random.IntN(4)]
	for _, f := range []struct{ flag, in int }{{unix.O_CREAT, 0}, {unix.O_TRUNC, 5}, {unix.O_EXCL, 6}, {unix.O_APPEND, 6}} {
		if f.in == 0 && g.random.IntN(4) > 0 || f.in > 0 && g.random.IntN(f.in) == 0 {
			flags |= f.flag
		}
	}
	if flags&unix.O_CREAT == 0 {
		flags &^= unix.O_EXCL
	}
	if flags&unix.O_RDWR == 0 {
		flags &^= unix.O_TRUNC // reading and emptying at once is left open by POSIX
	}
	return flags
}

func failed(err error) outcome {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return outcome{Err: errno}
	}
	if errors.Is(err, io.EOF) {
		return outcome{Text: "end"}
	}
	if err != nil {
		return outcome{Broken: err.Error()}
	}
	return outcome{}
}

func (d *dirTree) apply(o op) outcome {
	switch o.Kind {
	case opOpen:
		return d.openFile(o)
	case opRename, opRenameExclusive:
		flags := uint(0)
		if o.Kind == opRenameExclusive {
			flags = unix.RENAME_NOREPLACE
		}
		out := failed(unix.Renameat2(unix.AT_FDCWD, d.at(o.Path), unix.AT_FDCWD, d.at(o.Target), flags))
		if out.Err == unix.EEXIST && flags == 0 {
			out.Err = unix.ENOTEMPTY // POSIX lets a file system choose
		}
		return out
	case opLink:
		return failed(unix.Linkat(unix.AT_FDCWD, d.at(o.Path), unix.AT_FDCWD, d.at(o.Target), 0))
	case opSymlink:
		return failed(unix.Symlink(o.Path, d.at(o.Target)))
	case opReadlink:
		to, err := os.Readlink(d.at(o.Path))
		out := failed(err)
		out.Text = to
		return out
	case opUnlink:
		return failed(unix.Unlink(d.at(o.Path)))
	case opMkdir:
		return failed(unix.Mkdir(d.at(o.Path), o.Mode))
	case opRmdir:
		return failed(unix.Rmdir(d.at(o.Path)))
	case opChmod:
		return d.chmod(o)
	case opTimes:
		return d.times(o)
	case opTruncatePath:
		return failed(unix.Truncate(d.at(o.Path), o.Offset))
	case opReadAll:
		data, err := os.ReadFile(d.at(o.Path))
		out := failed(err)
		out.Bytes = data
		return out
	case opReadDir:
		names, err := namesIn(d.at(o.Path))
		out := failed(err)
		out.Text = fmt.Sprint(names)
		return out
	case opReadDirWhileChanging:
		return d.readDirWhileChanging(o)
	case opStat:
		return describe(d.at(o.Path))
	default:
		return d.onOpen(o)
	}
}

func (d *dirTree) openFile(o op) outcome {
	var last []byte
	if d.open[o.Slot] != nil {
		out := d.apply(op{Kind: opClose, Slot: o.Slot})
		if last = out.Bytes; out.Err != 0 || out.Broken != "" {
			return out
		}
	}
	fd, err := unix.Open(d.at(o.Path), o.Flags|unix.O_CLOEXEC, o.Mode)
	if err != nil {
		out := failed(err)
		out.Bytes = last
		return out
	}
	f := os.NewFile(uintptr(fd), o.Path) //nolint:gosec // a descriptor is not negative
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		d.open[o.Slot] = f
		return outcome{Bytes: last}
	}
	_ = f.Close()
	return outcome{Text: "no file", Bytes: last}
}

func (d *dirTree) chmod(o op) outcome {
	var st unix.Stat_t
	if err := unix.Stat(d.at(o.Path), &st); err != nil {
		return failed(err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		o.Mode |= 0o700
	}
	return failed(unix.Chmod(d.at(o.Path), o.Mode))
}

// times sets the time of change, which then has to be that exactly.
func (d *dirTree) times(o op) outcome {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(o.Time)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, d.at(o.Path), ts, 0); err != nil {
		return failed(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(d.at(o.Path), &st); err != nil {
		return failed(err)
	}
	return outcome{Text: fmt.Sprint(st.Mtim.Nano())}
}

func namesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name()+" "+e.Type().String())
	}
	slices.Sort(names)
	return names, err
}

// describe is all that stat says of a path and that every file system has to
// agree on. The count of links of a directory is its file system's own affair.
func describe(path string) outcome {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return failed(err)
	}
	return describeStat(&st)
}

func describeStat(st *unix.Stat_t) outcome {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return outcome{Text: fmt.Sprintf("directory mode=%#o", st.Mode)}
	case unix.S_IFLNK:
		return outcome{Text: fmt.Sprintf("link size=%d links=%d", st.Size, st.Nlink)}
	default:
		return outcome{Text: fmt.Sprintf("file mode=%#o size=%d links=%d", st.Mode, st.Size, st.Nlink)}
	}
}

// changed checks that the time of change moved with a change that began at.
func changed(f *os.File, before *unix.Stat_t, out outcome) outcome {
	var after unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &after); err != nil {
		return failed(err)
	}
	if out.Err == 0 && out.Broken == "" {
		if after.Mtim.Nano() < before.Mtim.Nano() {
			out.Broken = fmt.Sprintf("the time of change went back from %d to %d", before.Mtim.Nano(), after.Mtim.Nano())
		}
		if at := time.Unix(after.Mtim.Unix()); at.Year() < 2021 {
			out.Broken = fmt.Sprintf("the time of change is still %s", at.UTC())
		}
	}
	return out
}
