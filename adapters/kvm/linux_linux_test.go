package kvm

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

// TestLinuxGuest boots a Linux kernel without a root file system, when
// ARCBOX_TEST_KERNEL names one: it finds the devices of the plan, panics, and that is
// told apart from a power-off.
func TestLinuxGuest(t *testing.T) {
	kernel := os.Getenv("ARCBOX_TEST_KERNEL")
	if kernel == "" {
		t.Skip("ARCBOX_TEST_KERNEL is not set")
	}
	noLeak(t)
	vsock := &fakeVsock{vhostUser: true}
	h := emulated(t, vsock)
	link := newFakeLink(t)
	plan := testPlan(t)
	plan.Kernel, plan.Memory = kernel, 256
	plan.Cmdline = "console=ttyS0 panic=-1 root=/dev/vdz"
	plan.MAC, plan.MTU = link.MAC(), link.MTU()
	for _, d := range []domain.Disk{{ReadOnly: true}, {Discard: true}, {ReadOnly: true}} {
		d.Path = filepath.Join(t.TempDir(), "disk")
		require.NoError(t, os.WriteFile(d.Path, make([]byte, (len(plan.Disks)+1)<<20), 0o600))
		plan.Disks = append(plan.Disks, d)
	}
	begin := time.Now()
	m := start(t, h, port.VMSpec{Plan: plan, Link: link, Shares: newFakeLink(t)})
	within(t, 20*time.Second, m.console.spoke, "the kernel's first byte")
	t.Logf("first byte after %s", time.Since(begin))
	select {
	case <-m.Done():
	case <-time.After(60 * time.Second):
		text, _ := os.ReadFile(plan.ConsoleLog)
		t.Fatalf("no panic; the console says:\n%s", text)
	}
	t.Logf("panic after %s", time.Since(begin))
	text, err := os.ReadFile(plan.ConsoleLog)
	require.NoError(t, err)
	for _, want := range []string{"Linux version", "vda", "1024 1K-blocks|1.00 MiB|1.05 MB", "vdb", "vdc", "Kernel panic - not syncing: VFS"} {
		require.Regexp(t, want, string(text))
	}
	require.ErrorContains(t, m.Err(), "the guest reset itself")
}
