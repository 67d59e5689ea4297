package domain

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhenADiskIsLow(t *testing.T) {
	const gib = uint64(1 << 30)
	for name, c := range map[string]struct {
		disk    DiskUsage
		low     bool
		stayLow bool
	}{
		"not known":                    {DiskUsage{}, false, false},
		"half full":                    {DiskUsage{Total: 64 * gib, Free: 32 * gib}, false, false},
		"95 % of a large disk":         {DiskUsage{Total: 64 * gib, Free: 64*gib/20 - 1}, true, true},
		"just above":                   {DiskUsage{Total: 64 * gib, Free: 64 * gib / 20}, false, true},
		"clearly above":                {DiskUsage{Total: 64 * gib, Free: 5 * gib}, false, false},
		"less than 1 GiB of 12":        {DiskUsage{Total: 12 * gib, Free: gib - 1}, true, true},
		"a small disk is not born low": {DiskUsage{Total: gib, Free: gib / 2}, false, false},
		"a small disk":                 {DiskUsage{Total: gib, Free: gib / 11}, true, true},
		"no inodes":                    {DiskUsage{Total: 64 * gib, Free: 32 * gib, Inodes: 1000, FreeInodes: 10}, true, true},
	} {
		require.Equal(t, c.low, c.disk.Low(false), name)
		require.Equal(t, c.stayLow, c.disk.Low(true), name)
		require.Equal(t, c.low, c.disk.Problem() != "", name)
	}
	text := DiskUsage{Total: 64 * gib, Free: gib}.Problem()
	for _, cure := range []string{"1.0 GiB of 64.0 GiB free", "docker system df", "arcbox system prune", "vm.disk_gb"} {
		require.Contains(t, text, cure)
	}
}

func TestWhatIsSaidOfADisk(t *testing.T) {
	const gib = uint64(1 << 30)
	require.Empty(t, VMStatus{}.DiskProblems())
	fine := VMStatus{Guest: GuestStatus{Disk: DiskUsage{Device: 64 * gib, Total: 62 * gib, Free: 60 * gib}}, Image: DiskImage{Size: 64 * gib, Wanted: 64}}
	require.Empty(t, fine.DiskProblems())
	smaller := fine
	smaller.Image.Wanted = 32
	require.Len(t, smaller.DiskProblems(), 1)
	require.Contains(t, smaller.DiskProblems()[0], "never made smaller")
	stuck := fine
	stuck.Guest.Disk.Device = 128 * gib
	require.Contains(t, stuck.DiskProblems()[0], "did not grow")
}
