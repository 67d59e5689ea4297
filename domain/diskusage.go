package domain

import "fmt"

// DiskUsage is how full the data disk's file system is, as the guest says. The
// zero value is: not known.
type DiskUsage struct {
	// Device is the size of the block device, Total that of the file system on
	// it and Free what is free of it; bytes.
	Device, Total, Free uint64
	Inodes, FreeInodes  uint64
}

// DiskImage is the file on the host that a data disk is.
type DiskImage struct {
	// Size is the disk's size and Allocated what the file takes of the host's
	// disk; bytes. Both are 0 while there is no file.
	Size, Allocated uint64
	// Wanted is the configured size.
	Wanted GiB
}

// A disk is low below this share of free space or inodes, or below lowFree; on
// a small disk lowFree would be most of it, so it is at most a tenth.
const (
	lowShare = 20
	lowFree  = 1 << 30
	smallest = 10
)

// Known says whether the guest has told it.
func (d DiskUsage) Known() bool { return d.Total > 0 }

// Low says whether the disk is nearly full. was is the last answer: a disk that
// was low has to get a quarter more room than that to be no longer.
func (d DiskUsage) Low(was bool) bool {
	if !d.Known() {
		return false
	}
	space, inodes := max(d.Total/lowShare, min(lowFree, d.Total/smallest)), d.Inodes/lowShare
	if was {
		space, inodes = space+space/4, inodes+inodes/4
	}
	return d.Free < space || d.FreeInodes < inodes
}

// diskCure is what a user can do about a disk that is nearly full.
const diskCure = "docker system df shows what takes the space, arcbox system prune removes what is not used, " +
	"and with a larger vm.disk_gb the disk grows at the next start"

// Problem says in one line that the disk is nearly full and what to do about
// it; "" when it is not.
func (d DiskUsage) Problem() string {
	if !d.Low(false) {
		return ""
	}
	what := fmt.Sprintf("%s of %s free", gib(d.Free), gib(d.Total))
	if d.Inodes > 0 && d.FreeInodes < d.Inodes/lowShare {
		what += fmt.Sprintf(", room for %d of %d files", d.FreeInodes, d.Inodes)
	}
	return fmt.Sprintf("the data disk is nearly full (%s): %s", what, diskCure)
}

// NotGrown says in one line why the file system is smaller than its disk; ""
// when it is not. File systems leave a little of a disk unused.
func (d DiskUsage) NotGrown() string {
	if !d.Known() || d.Device == 0 || d.Total+d.Device/8 >= d.Device {
		return ""
	}
	return fmt.Sprintf("the file system of the data disk has %s of %s: it did not grow, arcbox logs -c agent says why", gib(d.Total), gib(d.Device))
}

// Kept says in one line that the disk is larger than what is configured; ""
// when it is not.
func (i DiskImage) Kept() string {
	if i.Wanted == 0 || i.Size <= i.Wanted.Bytes() {
		return ""
	}
	return fmt.Sprintf("the data disk has %s and vm.disk_gb is %d: a disk is never made smaller, its data could be lost", gib(i.Size), i.Wanted)
}

// DiskProblems are the lines that a user has to read of a machine's data disk.
func (s VMStatus) DiskProblems() []string {
	var lines []string
	for _, line := range []string{s.Guest.Disk.Problem(), s.Guest.Disk.NotGrown(), s.Image.Kept()} {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func gib(bytes uint64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }
