package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// diskStatus is what arcbox status says of the data disk.
type diskStatus struct {
	TotalBytes     uint64 `json:"total_bytes"`
	FreeBytes      uint64 `json:"free_bytes"`
	AllocatedBytes uint64 `json:"allocated_bytes"`
	ImageBytes     uint64 `json:"image_bytes"`
	Problems       []string
	paused         string
}

func (d *daemon) disk(t *testing.T) diskStatus {
	t.Helper()
	out, err := d.arcbox(t.Context(), "status", "--format", "json")
	require.NoError(t, err)
	var s struct {
		VMs []struct {
			Paused string
			Disk   diskStatus
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &s))
	require.Len(t, s.VMs, 1)
	s.VMs[0].Disk.paused = s.VMs[0].Paused
	return s.VMs[0].Disk
}

// allocated is what the data disk's image takes of the host's disk, bytes.
func allocated(t *testing.T, d *daemon) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(d.data, "data", "docker.img"))
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// fill writes so many MiB that are not zeros, all the way to the disk.
func fill(mib int, path string) []string {
	return []string{"sh", "-c", fmt.Sprintf("yes arcbox | dd of=%s bs=1M count=%d iflag=fullblock conv=fsync", path, mib)}
}

// TestTheDataDisk has a machine of its own, whose disk is filled, emptied,
// pruned, grown, and asked to become smaller.
func TestTheDataDisk(t *testing.T) {
	d := own(t, "disk")
	d.extra = []string{"ARCBOX_VM__DISK_GB=2"}
	require.NoError(t, d.start("--wait"))
	d.load(t)

	t.Run("what is deleted is the host's again", func(t *testing.T) {
		before := allocated(t, d)
		d.must(t, append([]string{"run", "--rm", "-v", "big:/v", demo}, fill(300, "/v/file")...)...)
		full := allocated(t, d)
		require.Greater(t, full-before, int64(250<<20))
		began := time.Now()
		d.must(t, "run", "--rm", "-v", "big:/v", demo, "sh", "-c", "rm /v/file; sync")
		t.Logf("300 MiB deleted and synced after %s", time.Since(began))
		eventually(t, 30*time.Second, func() error {
			if left := allocated(t, d) - before; left > 100<<20 {
				return fmt.Errorf("%d MiB are not given back", left>>20)
			}
			return nil
		})
		t.Logf("given back %s after the deletion began", time.Since(began))
	})

	t.Run("a full disk names its cure", func(t *testing.T) {
		require.Empty(t, d.disk(t).Problems)
		// Most of it without writing, which an emulated guest is slow at.
		script := "fallocate -l 1500M /v/rest && " + fill(1000, "/v/file")[2]
		_, err := d.docker(t.Context(), "run", "--name", "filler", "-v", "/v", demo, "sh", "-c", script)
		require.ErrorContains(t, err, "No space left on device")
		eventually(t, 30*time.Second, func() error {
			for _, p := range d.disk(t).Problems {
				if strings.Contains(p, "docker system df") && strings.Contains(p, "arcbox system prune") && strings.Contains(p, "vm.disk_gb") {
					return nil
				}
			}
			return errors.New("arcbox status does not say that the disk is full")
		})
	})

	t.Run("prune gives it back", func(t *testing.T) {
		_, err := d.arcbox(t.Context(), "system", "prune")
		require.ErrorContains(t, err, "--force", "there is nobody to ask")
		before := allocated(t, d)
		out, err := d.arcbox(t.Context(), "system", "prune", "--volumes", "--force", "--format", "json")
		require.NoError(t, err)
		var r struct {
			Containers, Volumes, Images []string
			Host                        int64 `json:"host_bytes"`
		}
		require.NoError(t, json.Unmarshal([]byte(out), &r))
		require.Len(t, r.Containers, 1)
		require.Len(t, r.Volumes, 1, "the anonymous one")
		require.Empty(t, r.Images, "those with names stay")
		require.Greater(t, r.Host, int64(250<<20))
		require.Less(t, allocated(t, d), before-int64(250<<20))
		eventually(t, 30*time.Second, func() error {
			if p := d.disk(t).Problems; len(p) > 0 {
				return fmt.Errorf("still: %q", p)
			}
			return nil
		})
		d.must(t, "run", "--rm", demo, "echo", "room")
	})

	restart := func(t *testing.T, gib int) {
		t.Helper()
		_, err := d.arcbox(t.Context(), "daemon", "stop")
		require.NoError(t, err)
		d.extra = []string{"ARCBOX_VM__DISK_GB=" + strconv.Itoa(gib)}
		require.NoError(t, d.start("--wait"))
	}
	t.Run("it grows", func(t *testing.T) {
		d.must(t, "run", "--rm", "-v", "big:/v", demo, "sh", "-c", "echo precious > /v/kept")
		was := d.disk(t).TotalBytes
		restart(t, 4)
		require.EqualValues(t, 4<<30, d.disk(t).ImageBytes)
		require.Greater(t, d.disk(t).TotalBytes, was*19/10)
		require.Equal(t, "precious\n", d.must(t, "run", "--rm", "-v", "big:/v", demo, "cat", "/v/kept"))
	})
	t.Run("it never shrinks, and says so", func(t *testing.T) {
		restart(t, 1)
		require.EqualValues(t, 4<<30, d.disk(t).ImageBytes)
		require.Contains(t, strings.Join(d.disk(t).Problems, "\n"), "never made smaller")
		require.Equal(t, "precious\n", d.must(t, "run", "--rm", "-v", "big:/v", demo, "cat", "/v/kept"))
	})
}

// TestTheDiskOfTheHostFillsUp has a machine of its own, whose data directory is
// on a file system that is smaller than its disk.
func TestTheDiskOfTheHostFillsUp(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a small file system, for which it has to run as root")
	}
	d := own(t, "hostfull")
	small := filepath.Join(d.data, "data")
	require.NoError(t, os.MkdirAll(small, 0o700))
	if err := syscall.Mount("none", small, "tmpfs", 0, "size=200m,mode=700"); err != nil {
		t.Skipf("cannot mount a small file system here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_FORCE|2 /* MNT_DETACH */) })
	d.extra = []string{"ARCBOX_VM__DISK_GB=2"}
	require.NoError(t, d.start("--wait"))
	d.load(t)

	type result struct {
		out string
		err error
	}
	written := make(chan result, 1)
	go func() {
		out, err := d.docker(context.WithoutCancel(t.Context()), append([]string{"run", "--name", "writer", demo}, fill(250, "/file")...)...)
		written <- result{out, err}
	}()
	eventually(t, 2*time.Minute, func() error {
		if d.disk(t).paused == "" {
			return errors.New("arcbox status does not say that the machine is paused")
		}
		return nil
	})
	require.Contains(t, d.disk(t).paused, "the host's disk is full")
	// Longer than an emulated guest may be silent for.
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(time.Second) {
		require.NotEmpty(t, d.disk(t).paused)
		st, _, err := d.status()
		require.NoError(t, err)
		require.Equal(t, "running", st.State)
	}
	require.NoError(t, syscall.Mount("none", small, "tmpfs", syscall.MS_REMOUNT, "size=1g,mode=700"))
	select {
	case r := <-written:
		require.NoError(t, r.err)
	case <-time.After(2 * time.Minute):
		t.Fatal("the writer does not go on")
	}
	eventually(t, 10*time.Second, func() error {
		if why := d.disk(t).paused; why != "" {
			return errors.New(why)
		}
		return nil
	})
	want := d.must(t, "run", "--rm", demo, "sh", "-c", "yes arcbox | dd bs=1M count=250 iflag=fullblock 2>/dev/null | sha256sum")
	d.must(t, "commit", "writer", "e2e/written")
	require.Equal(t, strings.Fields(want)[0], strings.Fields(d.must(t, "run", "--rm", "e2e/written", "sha256sum", "/file"))[0], "nothing is lost")
}

// TestTheGuestsClockIsSetRight moves the guest's clock while nobody asks for
// anything, and looks at it from inside.
func TestTheGuestsClockIsSetRight(t *testing.T) {
	for name, by := range map[string]int{"ahead": 86400, "behind": -86400} {
		t.Run(name, func(t *testing.T) {
			id := started(t, "--privileged", demo, "sh", "-c", fmt.Sprintf(`
				sleep 2; now=$(date +%%s); date -s @$((now + %d)) >/dev/null
				read a rest </proc/uptime
				while d=$(($(date +%%s) - now)); [ $d -gt 3600 ] || [ $d -lt -3600 ]; do :; done
				read b rest </proc/uptime; echo $a $b`, by))
			require.Equal(t, "0\n", docker(t, "wait", id))
			var a, b float64
			_, err := fmt.Sscan(docker(t, "logs", id), &a, &b)
			require.NoError(t, err)
			t.Logf("right again after %.2f s", b-a)
			require.Less(t, b-a, 1.0)
			asked := time.Now().Add(-2 * time.Second)
			guest, err := strconv.ParseInt(strings.TrimSpace(docker(t, "run", "--rm", demo, "date", "+%s")), 10, 64)
			require.NoError(t, err)
			require.WithinRange(t, time.Unix(guest, 0), asked, time.Now().Add(time.Second))
		})
	}
}
