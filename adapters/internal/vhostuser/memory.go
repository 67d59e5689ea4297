//go:build linux

package vhostuser

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxRegions is the number of regions of a memory table without the
// CONFIGURE_MEM_SLOTS protocol feature.
const maxRegions = 8

// regionSpec is one memory region as the front-end describes it.
type regionSpec struct {
	gpa  uint64 // guest physical address
	size uint64
	uva  uint64 // address in the front-end's process; ring addresses are given so
	off  uint64 // offset in the file
}

// check bounds a region on its own: nothing overflows, and the file of
// fileSize bytes holds all of it (an access behind the end of the file would
// be a fatal signal).
func (r regionSpec) check(fileSize int64) error {
	switch {
	case r.size == 0:
		return errors.New("empty memory region")
	case r.gpa+r.size < r.gpa, r.uva+r.size < r.uva:
		return fmt.Errorf("memory region at %#x of %#x bytes wraps around", r.gpa, r.size)
	case r.off+r.size < r.off, r.off+r.size > math.MaxInt64:
		return fmt.Errorf("memory region at offset %#x of %#x bytes is too large", r.off, r.size)
	case fileSize < 0 || r.off+r.size > uint64(fileSize):
		return fmt.Errorf("memory region at offset %#x of %#x bytes is not inside its file of %#x bytes", r.off, r.size, fileSize)
	}
	return nil
}

func (r regionSpec) overlaps(o regionSpec) bool {
	return r.gpa < o.gpa+o.size && o.gpa < r.gpa+r.size ||
		r.uva < o.uva+o.size && o.uva < r.uva+r.size
}

type region struct {
	regionSpec
	mem  []byte // guest bytes [gpa, gpa+size)
	mmap []byte // the whole mapping
}

// memTable is the guest's memory. It does not change once it is published; it
// is unmapped when the last user has released it.
type memTable struct {
	regions []region
	users   atomic.Int64 // chains that are being answered, and the controller
}

func (t *memTable) acquire() { t.users.Add(1) }

func (t *memTable) release() {
	if t != nil && t.users.Add(-1) == 0 {
		t.unmap()
	}
}

// mapTable maps the regions; fds[i] is the file of specs[i] and stays the
// caller's, who releases the table.
func mapTable(specs []regionSpec, fds []int) (*memTable, error) {
	if len(specs) == 0 || len(specs) > maxRegions {
		return nil, fmt.Errorf("%d memory regions, 1 to %d are allowed", len(specs), maxRegions)
	}
	if len(fds) != len(specs) {
		return nil, fmt.Errorf("%d memory regions with %d files", len(specs), len(fds))
	}
	t := &memTable{}
	t.acquire()
	for i, s := range specs {
		for _, o := range specs[:i] {
			if s.overlaps(o) {
				t.unmap()
				return nil, fmt.Errorf("memory regions at %#x and %#x overlap", o.gpa, s.gpa)
			}
		}
		m, err := mapShared(fds[i], s)
		if err != nil {
			t.unmap()
			return nil, err
		}
		t.regions = append(t.regions, region{regionSpec: s, mmap: m, mem: m[s.off:]})
	}
	return t, nil
}

// mapShared maps the file from its start, because the offset of a region need
// not be a multiple of the (huge) page size of the file.
func mapShared(fd int, s regionSpec) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("memory region is not backed by a memory file")
	}
	if err := s.check(st.Size); err != nil {
		return nil, err
	}
	m, err := unix.Mmap(fd, 0, int(s.off+s.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map %#x bytes of guest memory: %w", s.off+s.size, err)
	}
	return m, nil
}

func (t *memTable) unmap() {
	if t == nil {
		return
	}
	for i := range t.regions {
		_ = unix.Munmap(t.regions[i].mmap)
	}
	t.regions = nil
}

// at returns up to n bytes of guest memory at a guest physical address: all of
// them, or what the region has, or nothing.
func (t *memTable) at(gpa, n uint64) []byte {
	for i := range t.regions {
		r := &t.regions[i]
		if gpa >= r.gpa && gpa-r.gpa < r.size {
			o := gpa - r.gpa
			n = min(n, r.size-o)
			return r.mem[o : o+n : o+n]
		}
	}
	return nil
}

// ring returns n bytes at an address of the front-end's process, or nil when
// they are not inside one region.
func (t *memTable) ring(uva, n uint64) []byte {
	for i := range t.regions {
		r := &t.regions[i]
		if uva >= r.uva && uva-r.uva < r.size && n <= r.size-(uva-r.uva) {
			o := uva - r.uva
			return r.mem[o : o+n : o+n]
		}
	}
	return nil
}
