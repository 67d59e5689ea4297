package kvm

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"arcbox/application/port"
	"arcbox/domain"
)

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" {
		helperMain()
		return
	}
	goleak.VerifyTestMain(m)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// realQEMU returns the path of the host's QEMU.
func realQEMU(t *testing.T) string {
	t.Helper()
	if hostArch() != ArchAMD64 {
		t.Skip("the test guests are amd64 code")
	}
	path, err := exec.LookPath(binaryName(hostArch()))
	if err != nil {
		t.Skip("no QEMU on this host")
	}
	return path
}

// emulated returns a hypervisor that runs the host's QEMU without KVM.
func emulated(t *testing.T, vsock port.VsockDevices) *Hypervisor {
	t.Helper()
	return New(Options{Binary: realQEMU(t), Accelerator: domain.AcceleratorTCG}, vsock, quiet())
}

// testPlan is a small machine that runs code.
func testPlan(t *testing.T, code ...[]byte) domain.VMPlan {
	t.Helper()
	return domain.VMPlan{
		Name: "test", CPUs: 2, Memory: 64,
		Kernel: guestKernel(t, code...), Cmdline: "console=ttyS0",
		ConsoleLog: filepath.Join(t.TempDir(), "console.log"),
	}
}

// start starts a machine that the test's end takes down.
func start(t *testing.T, h *Hypervisor, spec port.VMSpec) *machine {
	t.Helper()
	vm, err := h.Start(t.Context(), spec)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, vm.Kill(ctx))
	})
	return vm.(*machine)
}

func (m *machine) pid() int { return m.qemu.cmd.Process.Pid }

// within fails the test unless c is closed in time.
func within(t *testing.T, d time.Duration, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(d):
		t.Fatalf("not within %s: %s", d, what)
	}
}

// gone says whether no process with this id runs; one that nobody waited for does not.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// noLeak fails the test when it ends with more descriptors than it began with.
// It is to be called first, so that its check comes last.
func noLeak(t *testing.T) {
	t.Helper()
	before := descriptors(t)
	t.Cleanup(func() {
		require.Empty(t, added(before, descriptors(t)), "descriptors that were left open")
	})
}

func descriptors(t *testing.T) map[string]string {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	open := map[string]string{}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/proc/") {
			open[e.Name()+" "+to] = to
		}
	}
	return open
}

func added(before, after map[string]string) (d []string) {
	for k := range after {
		if _, ok := before[k]; !ok {
			d = append(d, k)
		}
	}
	return d
}

// script writes an executable shell script that stands for QEMU. $QEMU in it is
// the real one; its runs are noted in the returned file, one a line.
func script(t *testing.T, body string) (binary, runs string) {
	t.Helper()
	dir := t.TempDir()
	binary, runs = filepath.Join(dir, "qemu"), filepath.Join(dir, "runs")
	real, _ := exec.LookPath(binaryName(hostArch()))
	text := fmt.Sprintf("#!/bin/sh\nQEMU=%q\necho \"$@\" >> %q\n%s\n", real, runs, body)
	require.NoError(t, os.WriteFile(binary, []byte(text), 0o700))
	return binary, runs
}

// countRuns counts the runs of a script whose arguments contain a text.
func countRuns(t *testing.T, runs, text string) int {
	t.Helper()
	data, err := os.ReadFile(runs)
	require.NoError(t, err)
	n := 0
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// fakeVsock makes devices whose guest end nobody serves, or a vhost-user server.
type fakeVsock struct {
	vhostUser bool
	cid       uint32
	err       error

	mu     sync.Mutex
	opened []*fakeDevice
}

type fakeDevice struct {
	cid    uint32
	end    *os.File // QEMU's, nil for a device of the host kernel
	server *vhostUserServer
	mu     sync.Mutex
	closed int
}

func (v *fakeVsock) Open(domain.MachineName) (port.VsockDevice, error) {
	if v.err != nil {
		return nil, v.err
	}
	d := &fakeDevice{cid: v.cid}
	if v.vhostUser {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		d.end = os.NewFile(uintptr(fds[0]), "vhost-user")
		d.server = serveVhostUser(fds[1])
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.opened = append(v.opened, d)
	return d, nil
}

func (d *fakeDevice) Dial(_ context.Context, p uint32) (port.Stream, error) {
	return nil, fmt.Errorf("port %d: %w", p, unix.ECONNREFUSED)
}
func (d *fakeDevice) CID() uint32         { return d.cid }
func (d *fakeDevice) VhostUser() *os.File { return d.end }
func (d *fakeDevice) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed++; d.closed == 1 && d.end != nil {
		d.end.Close()
		d.server.close()
	}
	return nil
}
func (d *fakeDevice) closes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// fakeLink is a network whose card does nothing.
type fakeLink struct {
	file    *os.File
	servers chan *vhostUserServer // of those who connected
}

func newFakeLink(t *testing.T) *fakeLink {
	t.Helper()
	name := filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	require.NoError(t, err)
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, os.Remove(name))
	l := &fakeLink{os.NewFile(uintptr(fd), "link"), make(chan *vhostUserServer, 10)}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := ln.AcceptUnix()
			if err != nil {
				close(l.servers)
				return
			}
			l.servers <- serveVhostUserOn(c)
		}
	})
	t.Cleanup(func() {
		ln.Close()
		accepting.Wait()
		for s := range l.servers {
			s.close()
		}
		l.file.Close()
	})
	return l
}

func (l *fakeLink) File() *os.File { return l.file }
func (l *fakeLink) MAC() [6]byte   { return [6]byte{0x52, 0x54, 0, 1, 2, 3} }
func (l *fakeLink) MTU() int       { return 65520 }
func (l *fakeLink) Close() error   { return nil }
