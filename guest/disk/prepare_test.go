//go:build linux

package disk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// recorder runs the real programs on image files and records mounts.
type recorder struct {
	Kernel
	did []string
}

func newRecorder() *recorder { return &recorder{Kernel: Kernel{Execute: (*exec.Cmd).Run}} }

func (r *recorder) Run(ctx context.Context, program string, args ...string) (string, error) {
	r.did = append(r.did, program)
	path, err := exec.LookPath(program)
	if err != nil {
		path = "/usr/sbin/" + program
	}
	return r.Kernel.Run(ctx, path, args...)
}

func (r *recorder) Mount(source, target, fstype, options string) error {
	r.did = append(r.did, strings.TrimSpace(fmt.Sprintf("mount %s %s", filepath.Base(target), fstype)))
	return nil
}

func (r *recorder) Resize(_ string, blocks uint64) error {
	r.did = append(r.did, fmt.Sprintf("resize %d", blocks))
	return nil
}

func image(t *testing.T, size int64) Disk {
	t.Helper()
	if _, err := exec.LookPath("mke2fs"); err != nil {
		if _, err := os.Stat("/usr/sbin/mke2fs"); err != nil {
			t.Skip("needs e2fsprogs")
		}
	}
	dir := t.TempDir()
	d := Disk{Device: filepath.Join(dir, "disk.img"), Target: filepath.Join(dir, "data"), Root: dir}
	require.NoError(t, os.WriteFile(d.Device, nil, 0o600))
	require.NoError(t, os.Truncate(d.Device, size))
	return d
}

var mounts = []string{"mount data ext4", "mount docker", "mount containerd", "mount rancher", "mount kubelet", "mount cni"}

func TestABlankDiskIsFormattedOnceAndStaysSparse(t *testing.T) {
	d := image(t, 8<<30)
	log := slog.New(slog.DiscardHandler)
	r := newRecorder()
	require.NoError(t, d.Prepare(t.Context(), r, log))
	require.Equal(t, slices.Concat([]string{"mke2fs"}, mounts), r.did)
	info, err := os.Stat(d.Device)
	require.NoError(t, err)
	require.EqualValues(t, 8<<30, info.Size())

	r = newRecorder()
	require.NoError(t, d.Prepare(t.Context(), r, log))
	require.Equal(t, slices.Concat([]string{"e2fsck"}, mounts), r.did)

	require.NoError(t, os.Truncate(d.Device, 9<<30))
	r = newRecorder()
	require.NoError(t, d.Prepare(t.Context(), r, log))
	require.Contains(t, r.did, fmt.Sprintf("resize %d", 9<<30/4096))

	require.NoError(t, os.Truncate(d.Device, 4<<30))
	r = newRecorder()
	err = d.Prepare(t.Context(), r, log)
	require.ErrorIs(t, err, domain.ErrCorrupt)
	require.ErrorContains(t, err, "it was cut")
	require.NotEmpty(t, domain.Hint(err))
	require.Empty(t, r.did)
}

// cut runs mke2fs until it has written to the byte limit of the disk, where
// the kernel kills it.
type cut struct {
	*recorder
	t     *testing.T
	limit int64
}

func (c cut) Run(ctx context.Context, program string, args ...string) (string, error) {
	require.Equal(c.t, "mke2fs", program)
	require.NoError(c.t, ctx.Err(), "a stop does not reach it")
	_, bounded := ctx.Deadline()
	require.True(c.t, bounded)
	script := fmt.Sprintf(`PATH=$PATH:/usr/sbin; ulimit -c 0; ulimit -f %d; exec "$0" "$@"`, c.limit/512)
	out, err := c.Kernel.Run(ctx, "sh", append([]string{"-c", script, program}, args...)...)
	require.Error(c.t, err, "mke2fs was not cut off at %d", c.limit)
	return out, err
}

func TestAFormattingThatWasCutOffBeginsAgain(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	begun := 0
	for _, limit := range []int64{0, 4 << 10, 1 << 20, 16 << 20, 300 << 20} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			d := image(t, 1<<30)
			stopped, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorContains(t, d.Prepare(stopped, cut{newRecorder(), t, limit}, log), "format the data disk")
			info, err := os.Stat(d.Device)
			require.NoError(t, err)
			if info.Sys().(*syscall.Stat_t).Blocks*512 > 64<<10 { // more than the mark
				begun++
			}
			requireFormatted(t, d, "mke2fs")
		})
	}
	require.Positive(t, begun, "no mke2fs was stopped between its first byte and its last")
}

func requireFormatted(t *testing.T, d Disk, first string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	r := newRecorder()
	require.NoError(t, d.Prepare(t.Context(), r, log))
	require.Equal(t, slices.Concat([]string{first}, mounts), r.did)
	out, err := r.Run(t.Context(), "e2fsck", "-f", "-n", d.Device)
	require.NoError(t, err, out)
	found, _, err := d.look(t.Context())
	require.NoError(t, err)
	require.Equal(t, Ours, found.Kind, "the mark is gone before the first mount")
}

// A superblock may reach the medium before what it describes does.
func TestAFormattingThatWasCutOffAfterTheSuperblockBeginsAgain(t *testing.T) {
	d := image(t, 1<<30)
	log := slog.New(slog.DiscardHandler)
	require.NoError(t, d.Prepare(t.Context(), newRecorder(), log))
	require.NoError(t, d.mark(true))
	f, err := os.OpenFile(d.Device, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 4096), 4096) // the descriptors
	require.NoError(t, err)
	require.NoError(t, f.Close())
	requireFormatted(t, d, "mke2fs")
}

func TestWhatIsWhereTheMarkWasIsKept(t *testing.T) {
	d := image(t, 1<<30)
	f, err := os.OpenFile(d.Device, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("of the file system"), 1<<30-Window)
	require.NoError(t, err)
	require.NoError(t, d.mark(false))
	got := make([]byte, len("of the file system"))
	_, err = f.ReadAt(got, 1<<30-Window)
	require.NoError(t, err)
	require.Equal(t, "of the file system", string(got))
}

func TestAForeignDiskIsLeftAlone(t *testing.T) {
	for name, at := range map[string]int64{"head": 512, "middle": (1 << 30) / (samples + 1) &^ 4095 * 7, "end": 1<<30 - 100} {
		t.Run(name, func(t *testing.T) {
			d := image(t, 1<<30)
			f, err := os.OpenFile(d.Device, os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("precious"), at)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			r := newRecorder()
			err = d.Prepare(t.Context(), r, slog.New(slog.DiscardHandler))
			require.ErrorIs(t, err, domain.ErrConflict)
			require.ErrorContains(t, err, "data that this agent does not know")
			require.Empty(t, r.did)
		})
	}
}

func TestADiskThatIsNotThereOrTooSmall(t *testing.T) {
	d := image(t, minSize-1)
	require.ErrorIs(t, d.Prepare(t.Context(), newRecorder(), slog.New(slog.DiscardHandler)), domain.ErrInvalid)
	d.Device += ".missing"
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, d.Prepare(ctx, newRecorder(), slog.New(slog.DiscardHandler)), os.ErrNotExist)
}

type checkFails struct {
	*recorder
	status string
}

func (c checkFails) Run(context.Context, string, ...string) (string, error) {
	return "what fsck said", exec.Command("sh", "-c", "exit "+c.status).Run()
}

func TestCheckResults(t *testing.T) {
	d := Disk{Device: "/dev/vdb"}
	log := slog.New(slog.DiscardHandler)
	require.NoError(t, d.check(t.Context(), checkFails{status: "0"}, log))
	require.NoError(t, d.check(t.Context(), checkFails{status: "1"}, log))
	err := d.check(t.Context(), checkFails{status: "4"}, log)
	require.True(t, errors.Is(err, domain.ErrCorrupt))
	require.ErrorContains(t, err, "what fsck said")
}
