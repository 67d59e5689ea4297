package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// onOpen does what needs an open file.
func (d *dirTree) onOpen(o op) outcome {
	f := d.open[o.Slot]
	if f == nil {
		return outcome{Text: "nothing open"}
	}
	fd := int(f.Fd())
	var before unix.Stat_t
	if err := unix.Fstat(fd, &before); err != nil {
		return failed(err)
	}
	switch o.Kind {
	case opClose:
		d.open[o.Slot] = nil
		return closeFile(f, before.Size)
	case opWrite:
		n, err := unix.Pwrite(fd, o.fill(), o.Offset)
		return changed(f, &before, counted(n, err))
	case opAppend:
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			return failed(err)
		}
		n, err := unix.Write(fd, o.fill())
		return changed(f, &before, counted(n, err))
	case opRead:
		data := make([]byte, o.Length)
		n, err := unix.Pread(fd, data, o.Offset)
		out := failed(err)
		out.Bytes = data[:max(n, 0)]
		return out
	case opTruncate:
		return changed(f, &before, failed(unix.Ftruncate(fd, o.Offset)))
	case opMapWrite:
		return mapWrite(f, &before, o)
	case opMapRead:
		return mapRead(f, &before)
	case opAllocate:
		mode := uint32(0)
		if o.Flags != 0 {
			mode = unix.FALLOC_FL_KEEP_SIZE
		}
		return failed(unix.Fallocate(fd, mode, o.Offset, int64(o.Length)))
	case opPunch:
		return failed(unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, o.Offset, int64(o.Length)))
	case opSeek:
		return seekHole(f, before.Size, o.Offset)
	case opSync:
		return failed(unix.Fsync(fd))
	case opStatOpen:
		return describeStat(&before)
	default:
		return outcome{Broken: "no such operation"}
	}
}

// closeFile reads the file a last time, whether or not it still has a name.
func closeFile(f *os.File, size int64) outcome {
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	out := failed(errors.Join(err, f.Close()))
	out.Bytes = data[:n]
	return out
}

func counted(n int, err error) outcome {
	out := failed(err)
	if err == nil {
		out.Text = fmt.Sprint(n)
	}
	return out
}

// mapWrite changes a file through memory that it shares, and reads that back
// through the file.
func mapWrite(f *os.File, before *unix.Stat_t, o op) outcome {
	if o.Offset >= before.Size {
		return outcome{Text: "beyond the end"}
	}
	o.Length = min(o.Length, int(before.Size-o.Offset))
	memory, err := unix.Mmap(int(f.Fd()), 0, int(before.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return failed(err)
	}
	data := o.fill()
	copy(memory[o.Offset:], data)
	back := make([]byte, len(data))
	n, readErr := unix.Pread(int(f.Fd()), back, o.Offset)
	syncErr := unix.Msync(memory, unix.MS_SYNC)
	if err := errors.Join(readErr, syncErr, unix.Munmap(memory)); err != nil {
		return failed(err)
	}
	out := counted(n, nil)
	if !bytes.Equal(back[:n], data) {
		out.Broken = "a read does not see what was written to shared memory"
	}
	return changed(f, before, out)
}

func mapRead(f *os.File, st *unix.Stat_t) outcome {
	if st.Size == 0 {
		return outcome{Text: "empty"}
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return failed(err)
	}
	out := outcome{Bytes: bytes.Clone(memory)}
	if err := unix.Munmap(memory); err != nil {
		return failed(err)
	}
	return out
}

// seekHole looks for data and holes from an offset on. Where they begin is each
// file system's own affair; that a hole reads as zeros is not.
func seekHole(f *os.File, size, offset int64) outcome {
	data, err := unix.Seek(int(f.Fd()), offset, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO) && offset >= size:
		return outcome{Err: unix.ENXIO}
	case errors.Is(err, unix.ENXIO):
		data = size // nothing but a hole
	case err != nil:
		return failed(err)
	}
	zeros := make([]byte, data-offset)
	if n, err := f.ReadAt(zeros, offset); err != nil && !errors.Is(err, io.EOF) || n < len(zeros) {
		return outcome{Broken: fmt.Sprintf("read of a hole of %d bytes: %d bytes, %v", len(zeros), n, err)}
	}
	if i := bytes.IndexFunc(zeros, func(r rune) bool { return r != 0 }); i >= 0 {
		return outcome{Broken: fmt.Sprintf("byte %d is not zero and said to be in a hole from %d to %d", offset+int64(i), offset, data)}
	}
	hole, err := unix.Seek(int(f.Fd()), min(data, size-1), unix.SEEK_HOLE)
	if err == nil && hole > size {
		return outcome{Broken: fmt.Sprintf("a hole at %d of %d bytes", hole, size)}
	}
	if offset >= size {
		return failed(err)
	}
	return outcome{Text: "sparse"}
}

// Numbers of files of readDirWhileChanging: more than one buffer of the kernel
// holds, a third of them goes while the directory is read.
const (
	many  = 250
	first = 50 // read before the change
)

// readDirWhileChanging reads a directory in which files come and go meanwhile:
// those that stay are seen exactly once.
func (d *dirTree) readDirWhileChanging(o op) outcome {
	dir := d.at("changing")
	if err := unix.Mkdir(dir, 0o700); err != nil {
		return failed(err)
	}
	defer os.RemoveAll(dir)
	name := func(i int) string { return fmt.Sprintf("file-%d-%d", o.Fill%1000, i) }
	make1 := func(i int) error { return os.WriteFile(filepath.Join(dir, name(i)), nil, 0o600) }
	for i := range many {
		if err := make1(i); err != nil {
			return failed(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		return failed(err)
	}
	defer f.Close()
	seen := map[string]int{}
	take := func(n int) error {
		names, err := f.Readdirnames(n)
		for _, name := range names {
			seen[name]++
		}
		return err
	}
	if err := take(first); err != nil {
		return failed(err)
	}
	for i := 0; i < many; i += 3 {
		if err := errors.Join(os.Remove(filepath.Join(dir, name(i))), make1(many+i)); err != nil {
			return failed(err)
		}
	}
	if err := take(-1); err != nil {
		return failed(err)
	}
	for i := range many {
		if n := seen[name(i)]; n > 1 || n == 0 && i%3 != 0 {
			return outcome{Broken: fmt.Sprintf("%s was seen %d times", name(i), n)}
		}
	}
	return outcome{}
}
