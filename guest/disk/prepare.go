//go:build linux

package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"arcbox/domain"
)

// appearTimeout is how long a device may take to show up after boot.
const appearTimeout = 5 * time.Second

// System is what preparing a disk asks of the machine.
type System interface {
	// Run runs a program of the root file system to its end. The error tells
	// its exit status through ExitCode; output is what it printed.
	Run(ctx context.Context, program string, args ...string) (output string, err error)
	// Mount mounts a file system; an empty fstype makes a bind mount.
	Mount(source, target, fstype, options string) error
	// Resize grows the mounted ext4 file system at target to so many blocks.
	Resize(target string, blocks uint64) error
}

// dirs maps directories of the data disk to where they are mounted.
var dirs = []struct{ on, at string }{
	{"docker", "/var/lib/docker"},
	{"containerd", "/var/lib/containerd"},
	{"rancher", "/var/lib/rancher"},
	{"kubelet", "/var/lib/kubelet"},
	{"cni", "/var/lib/cni"},
}

// Disk is the data disk and where it goes.
type Disk struct {
	Device string // "/dev/vdb"
	Target string // where its file system is mounted
	Root   string // prefix of the directories that are mounted from it
}

// Prepare formats the disk when it is blank, checks and mounts it, grows its
// file system to the device, and mounts its directories. A device with
// anything on it that is not our own file system is left alone, and the error
// says what was found.
func (d Disk) Prepare(ctx context.Context, sys System, log *slog.Logger) error {
	found, size, err := d.look(ctx)
	if err != nil {
		return err
	}
	switch found.Kind {
	case Foreign:
		return domain.WithHint(
			fmt.Errorf("the data disk %s holds %s; it is neither blank nor ours, and was left as it is: %w", d.Device, found.What, domain.ErrConflict),
			"give the machine another data disk, or wipe this one if nothing on it is needed")
	case Blank, Unfinished:
		if err := d.format(ctx, sys, found.Kind == Blank); err != nil {
			return err
		}
		log.Info("data disk formatted", "device", d.Device, "bytes", size, "again", found.Kind == Unfinished)
	case Ours:
		if found.Blocks > size/found.BlockSize {
			return domain.WithHint(
				fmt.Errorf("the data disk %s has %d bytes, but its file system needs %d: it was cut: %w", d.Device, size, found.Blocks*found.BlockSize, domain.ErrCorrupt),
				"bring the disk image back to its former size")
		}
		if err := d.check(ctx, sys, log); err != nil {
			return err
		}
	}
	// discard: what is deleted in the guest becomes free on the host.
	if err := sys.Mount(d.Device, d.Target, "ext4", "noatime,discard,errors=remount-ro"); err != nil {
		return fmt.Errorf("mount the data disk %s: %w", d.Device, err)
	}
	if found.Kind == Ours && size/found.BlockSize > found.Blocks {
		if err := sys.Resize(d.Target, size/found.BlockSize); err != nil {
			// It works at its old size; a user who needs the space sees why.
			log.Error("data disk not grown", "device", d.Device, "error", err)
		} else {
			log.Info("data disk grown", "device", d.Device, "bytes", size)
		}
	}
	return d.bind(sys)
}

// Mounts returns where Prepare mounts something, the disk itself last.
func (d Disk) Mounts() []string {
	out := make([]string, 0, len(dirs)+1)
	for _, dir := range dirs {
		out = append(out, d.Root+dir.at)
	}
	return append(out, d.Target)
}

// look waits for the device and reads what Identify needs.
func (d Disk) look(ctx context.Context) (Found, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, appearTimeout)
	defer cancel()
	var f *os.File
	for {
		var err error
		f, err = os.Open(d.Device)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return Found{}, 0, fmt.Errorf("open the data disk: %w", err)
		}
		select {
		case <-ctx.Done():
			return Found{}, 0, fmt.Errorf("the data disk is not there: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	defer func() { _ = f.Close() }()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Found{}, 0, fmt.Errorf("size of the data disk: %w", err)
	}
	if end < minSize {
		return Found{}, 0, fmt.Errorf("the data disk %s has only %d bytes: want at least %d: %w", d.Device, end, minSize, domain.ErrInvalid)
	}
	first, last := make([]byte, Window), make([]byte, Window)
	if _, err := f.ReadAt(first, 0); err != nil {
		return Found{}, 0, fmt.Errorf("read the data disk: %w", err)
	}
	if _, err := f.ReadAt(last, end-Window); err != nil {
		return Found{}, 0, fmt.Errorf("read the data disk: %w", err)
	}
	found := Identify(first, last)
	if found.Kind == Blank {
		found, err = sample(f, end)
	}
	return found, uint64(end), err
}

// minSize is below what an engine can start on.
const minSize = 64 << 20

// samples is how many blocks in between are looked at before a disk counts as
// blank.
const samples = 128

func sample(f io.ReaderAt, end int64) (Found, error) {
	buf := make([]byte, 4096)
	step := (end / (samples + 1)) &^ 4095
	for at := step; at+4096 <= end; at += step {
		if _, err := f.ReadAt(buf, at); err != nil {
			return Found{}, fmt.Errorf("read the data disk: %w", err)
		}
		if i := firstNonZero(buf); i >= 0 {
			return foreign(fmt.Sprintf("data that this agent does not know, at byte %d", at+int64(i))), nil
		}
	}
	return Found{Kind: Blank}, nil
}

// programLimit bounds mke2fs and e2fsck. Nothing else ends them: a stop of the
// machine waits for them, since a file system cut in its making helps nobody.
const programLimit = 10 * time.Minute

func run(ctx context.Context, sys System, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), programLimit)
	defer cancel()
	return sys.Run(ctx, program, args...)
}

// format makes the file system, with a mark on the disk meanwhile: when it is
// cut off by a power cut, the next start knows that nothing of the user's can
// be there, and begins again. A disk that is known to be all zeros needs nothing discarded or
// zeroed, now or by the kernel later: that keeps the first boot short and the
// image sparse.
func (d Disk) format(ctx context.Context, sys System, zeros bool) error {
	if err := d.mark(true); err != nil {
		return err
	}
	options := "nodiscard"
	if zeros {
		options += ",assume_storage_prezeroed=1"
	}
	out, err := run(ctx, sys, "mke2fs", "-q", "-F", "-t", "ext4", "-L", Label, "-m", "0", "-E", options, d.Device)
	if err != nil {
		return fmt.Errorf("format the data disk %s: %w: %s", d.Device, err, strings.TrimSpace(out))
	}
	return d.mark(false)
}

// mark sets the mark, or clears it, on the medium.
func (d Disk) mark(set bool) error {
	f, err := os.OpenFile(d.Device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("mark the data disk: %w", err)
	}
	if err := errors.Join(writeMark(f, set), f.Close()); err != nil {
		return fmt.Errorf("mark the data disk: %w", err)
	}
	return nil
}

func writeMark(f *os.File, set bool) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	now, want := make([]byte, len(formatting)), []byte(formatting)
	if _, err := f.ReadAt(now, end-Window); err != nil {
		return err
	}
	if !set {
		if !bytes.Equal(now, want) { // the file system has put something of its own there
			return nil
		}
		clear(want)
	}
	if _, err := f.WriteAt(want, end-Window); err != nil {
		return err
	}
	return f.Sync()
}

// check repairs what can be repaired without asking, from the journal first.
// Exit status, source e2fsck(8): 0 clean, 1 corrected, 2 corrected (for a
// mounted file system: reboot), 4 and more not corrected.
func (d Disk) check(ctx context.Context, sys System, log *slog.Logger) error {
	out, err := run(ctx, sys, "e2fsck", "-p", d.Device)
	var exit interface{ ExitCode() int }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && (exit.ExitCode() == 1 || exit.ExitCode() == 2):
		log.Warn("data disk repaired", "device", d.Device, "output", strings.TrimSpace(out))
		return nil
	}
	return domain.WithHint(
		fmt.Errorf("check the data disk %s: %w: %s: %w", d.Device, err, strings.TrimSpace(out), domain.ErrCorrupt),
		"repair the disk image with e2fsck while the machine is down")
}

func (d Disk) bind(sys System) error {
	for _, dir := range dirs {
		from, to := d.Target+"/"+dir.on, d.Root+dir.at
		for _, p := range []string{from, to} {
			if err := os.MkdirAll(p, 0o711); err != nil {
				return fmt.Errorf("directory of the data disk: %w", err)
			}
		}
		if err := sys.Mount(from, to, "", ""); err != nil {
			return fmt.Errorf("mount %s from the data disk: %w", to, err)
		}
	}
	return nil
}
