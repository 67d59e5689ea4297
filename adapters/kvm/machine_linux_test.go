package kvm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/application/port"
	"arcbox/domain"
)

func TestMachineRunsUntilKilled(t *testing.T) {
	noLeak(t)
	h := emulated(t, nil)
	plan := testPlan(t, say("hello\n"))
	require.NoError(t, os.WriteFile(plan.ConsoleLog, []byte("of the last run"), 0o644))
	m := start(t, h, port.VMSpec{Plan: plan})

	within(t, 10*time.Second, m.console.spoke, "the guest's first byte")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		text, err := os.ReadFile(plan.ConsoleLog)
		require.NoError(c, err)
		require.Equal(c, "hello\n", string(text), "nothing of the firmware, nothing of the last run")
	}, 10*time.Second, 5*time.Millisecond)
	info := m.Info()
	require.Equal(t, "qemu", info.Driver)
	require.Regexp(t, `^\d+\.\d+\.\d+$`, info.Version)
	require.Equal(t, domain.AcceleratorTCG, info.Accelerator)
	require.NotEmpty(t, info.Reason)
	require.NoError(t, m.Err())
	select {
	case <-m.Done():
		t.Fatal("the machine is down")
	default:
	}

	begin := time.Now()
	require.NoError(t, m.Kill(t.Context()))
	require.Less(t, time.Since(begin), 2*time.Second)
	require.NoError(t, m.Err())
	require.True(t, gone(m.pid()))
	require.NoError(t, m.Kill(t.Context()), "a second time")
}

func TestMachineEndsByItself(t *testing.T) {
	tests := map[string]struct {
		code [][]byte
		do   func(pid int)
		says string
	}{
		"power-off":       {[][]byte{say("bye\n"), codePowerOff}, nil, ""},
		"reset":           {[][]byte{say("bye\n"), codeReset}, nil, "the guest reset itself"},
		"SIGKILL of QEMU": {[][]byte{say("up\n")}, func(pid int) { unix.Kill(pid, unix.SIGKILL) }, "signal: killed"},
		"SIGTERM of QEMU": {[][]byte{say("up\n")}, func(pid int) { unix.Kill(pid, unix.SIGTERM) }, "signal that ArcBox did not send"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			noLeak(t)
			m := start(t, emulated(t, nil), port.VMSpec{Plan: testPlan(t, tt.code...)})
			if tt.do != nil {
				tt.do(m.pid())
			}
			within(t, 10*time.Second, m.Done(), "the machine's end")
			if tt.says == "" {
				require.NoError(t, m.Err())
			} else {
				require.ErrorContains(t, m.Err(), tt.says)
				require.ErrorIs(t, m.Err(), domain.ErrUnavailable)
			}
			require.True(t, gone(m.pid()))
			require.NoError(t, m.Kill(t.Context()))
			_, err := m.Dial(t.Context(), 1)
			require.ErrorIs(t, err, domain.ErrUnsupported, "it has no vsock device")
			require.ErrorIs(t, m.SetMemory(t.Context(), 32), domain.ErrNotRunning)
		})
	}
}

func TestKillOfAQEMUThatHangs(t *testing.T) {
	noLeak(t)
	h := emulated(t, nil)
	h.options.QuitTimeout = 200 * time.Millisecond
	m := start(t, h, port.VMSpec{Plan: testPlan(t)})
	require.NoError(t, unix.Kill(m.pid(), unix.SIGSTOP))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, m.Kill(ctx), domain.ErrCanceled, "the caller does not wait")
	within(t, 10*time.Second, m.Done(), "SIGKILL")
	require.NoError(t, m.Err())
}

func TestKillsAndCrashAtOnce(t *testing.T) {
	noLeak(t)
	m := start(t, emulated(t, nil), port.VMSpec{Plan: testPlan(t)})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := m.Kill(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Go(func() { unix.Kill(m.pid(), unix.SIGKILL) })
	all.Wait()
	<-m.Done()
}

func TestBalloon(t *testing.T) {
	m := start(t, emulated(t, nil), port.VMSpec{Plan: testPlan(t)})
	var balloon port.Balloon = m
	require.NoError(t, balloon.SetMemory(t.Context(), 32))
	require.NoError(t, balloon.SetMemory(t.Context(), 64))
	for _, bad := range []domain.MiB{0, 65} {
		require.ErrorIs(t, balloon.SetMemory(t.Context(), bad), domain.ErrInvalid)
	}
}

func TestDisksNetworkAndShares(t *testing.T) {
	noLeak(t)
	h := emulated(t, nil)
	link, shares := newFakeLink(t), newFakeLink(t)
	plan := testPlan(t)
	plan.MAC, plan.MTU = link.MAC(), link.MTU()
	dir := filepath.Join(t.TempDir(), "with, comma,,s and = sign")
	require.NoError(t, os.Mkdir(dir, 0o700))
	for i, d := range []domain.Disk{{ReadOnly: true}, {Discard: true}} {
		d.Path = filepath.Join(dir, string(rune('a'+i))+",read-only=on")
		require.NoError(t, os.WriteFile(d.Path, make([]byte, 1<<20), 0o600))
		plan.Disks = append(plan.Disks, d)
	}
	m := start(t, h, port.VMSpec{Plan: plan, Link: link, Shares: shares})

	var blocks []struct {
		Inserted struct {
			File     string `json:"file"`
			ReadOnly bool   `json:"ro"`
		} `json:"inserted"`
	}
	require.NoError(t, m.qemu.monitor.Execute(t.Context(), "query-block", nil, &blocks))
	require.Len(t, blocks, 2)
	for i, b := range blocks {
		require.Equal(t, plan.Disks[i].Path, b.Inserted.File)
		require.Equal(t, plan.Disks[i].ReadOnly, b.Inserted.ReadOnly)
	}
	require.NoError(t, m.Kill(t.Context()))

	for _, l := range []*fakeLink{link, shares} {
		device := <-l.servers
		require.True(t, device.saw(vuGetFeatures), "QEMU talks to the device")
		within(t, 5*time.Second, device.done, "the end of QEMU's connection")
		device.close()
		// The link stays its owner's.
		c, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d", l.file.Fd()))
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
}

func TestVsockDevice(t *testing.T) {
	noLeak(t)
	vsock := &fakeVsock{vhostUser: true}
	m := start(t, emulated(t, vsock), port.VMSpec{Plan: testPlan(t)})
	require.Len(t, vsock.opened, 1)
	device := vsock.opened[0]
	require.True(t, device.server.saw(vuGetFeatures), "QEMU talks to the device")
	_, err := m.Dial(t.Context(), 1024)
	require.ErrorIs(t, err, unix.ECONNREFUSED, "the device's own answer")
	require.Zero(t, device.closes())
	require.NoError(t, m.Kill(t.Context()))
	_, err = m.Dial(t.Context(), 1024)
	require.ErrorIs(t, err, domain.ErrNotRunning)
	require.Equal(t, 1, device.closes())
}

func TestStartFails(t *testing.T) {
	tests := map[string]struct {
		change func(*Hypervisor, *domain.VMPlan)
		is     error
		says   string
	}{
		"missing disk": {func(_ *Hypervisor, p *domain.VMPlan) {
			p.Disks = []domain.Disk{{Path: filepath.Join(filepath.Dir(p.Kernel), "none.img")}}
		}, domain.ErrUnavailable, "none.img': No such file"},
		"missing kernel":       {func(_ *Hypervisor, p *domain.VMPlan) { p.Kernel += "-none" }, domain.ErrUnavailable, "could not open kernel"},
		"too much memory":      {func(_ *Hypervisor, p *domain.VMPlan) { p.Memory = 1 << 40 }, domain.ErrUnavailable, "QEMU ended while starting (exit status 1)"},
		"console in no folder": {func(_ *Hypervisor, p *domain.VMPlan) { p.ConsoleLog += "/none/log" }, nil, "console log"},
		"bad plan":             {func(_ *Hypervisor, p *domain.VMPlan) { p.CPUs = 0 }, domain.ErrInvalid, "0 processors"},
		"vsock device":         {func(h *Hypervisor, _ *domain.VMPlan) { h.vsock.(*fakeVsock).err = errors.New("odd") }, nil, "vsock device: odd"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			noLeak(t)
			vsock := &fakeVsock{vhostUser: true}
			h := emulated(t, vsock)
			_, err := h.Probe(t.Context()) // not to be timed
			require.NoError(t, err)
			plan := testPlan(t)
			tt.change(h, &plan)
			begin := time.Now()
			vm, err := h.Start(t.Context(), port.VMSpec{Plan: plan})
			took := time.Since(begin)
			require.Nil(t, vm)
			require.ErrorContains(t, err, tt.says)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
			require.Less(t, took, 2*time.Second)
			for _, d := range vsock.opened {
				require.Equal(t, 1, d.closes())
			}
		})
	}
}

func TestStartOfAQEMUThatHangs(t *testing.T) {
	realQEMU(t)
	// It answers for its version only.
	binary, _ := script(t, `case "$1" in -version) exec "$QEMU" "$@";; esac; echo "I hang" >&2; exec sleep 100`)
	h := New(Options{Binary: binary, Accelerator: domain.AcceleratorTCG, StartTimeout: 300 * time.Millisecond}, nil, quiet())
	t.Run("times out", func(t *testing.T) {
		noLeak(t)
		_, err := h.Start(t.Context(), port.VMSpec{Plan: testPlan(t)})
		require.ErrorIs(t, err, domain.ErrTimeout)
		require.ErrorContains(t, err, "greeting")
		require.ErrorContains(t, err, "I hang")
	})
	t.Run("caller gives up", func(t *testing.T) {
		noLeak(t)
		h.options.StartTimeout = time.Minute
		ctx, cancel := context.WithCancel(t.Context())
		stop := time.AfterFunc(200*time.Millisecond, cancel)
		defer stop.Stop()
		_, err := h.Start(ctx, port.VMSpec{Plan: testPlan(t)})
		require.ErrorIs(t, err, domain.ErrCanceled)
	})
}

func TestTakenContextIDIsTriedAgain(t *testing.T) {
	realQEMU(t)
	// A QEMU whose first choices are taken, and that needs no host device for the last.
	binary, runs := script(t, `
case "$*" in
-version) exec "$QEMU" "$@";;
esac
if [ $(wc -l < "$(dirname "$0")/runs") -lt 4 ]; then
	echo "qemu: vhost-vsock: unable to set guest cid: Address already in use" >&2
	exit 1
fi
for a do shift; case "$a" in vhost-vsock-pci*) a=virtio-serial-pci;; esac; set -- "$@" "$a"; done
exec "$QEMU" "$@"`)
	vsock := &fakeVsock{cid: 42}
	h := New(Options{Binary: binary, Accelerator: domain.AcceleratorTCG}, vsock, quiet())
	start(t, h, port.VMSpec{Plan: testPlan(t)})
	require.Equal(t, 3, countRuns(t, runs, "vhost-vsock-pci,guest-cid=42"))
	require.Len(t, vsock.opened, 3)
	require.Equal(t, []int{1, 1, 0}, []int{vsock.opened[0].closes(), vsock.opened[1].closes(), vsock.opened[2].closes()})
}

func TestConsoleIsBounded(t *testing.T) {
	noLeak(t)
	path := filepath.Join(t.TempDir(), "console.log")
	c, remote, err := startConsole(path, 100, quiet())
	require.NoError(t, err)
	chunk := strings.Repeat("x", 30)
	for i := range 50 {
		_, err := remote.WriteString(chunk)
		require.NoError(t, err)
		// One read each, so that the sizes are known.
		size := int64(30 * (i%3 + 1))
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			info, err := os.Stat(path)
			require.NoError(c, err)
			require.Equal(c, size, info.Size())
		}, 5*time.Second, time.Millisecond)
	}
	require.NoError(t, remote.Close())
	c.close()
	for p, size := range map[string]int64{path: 60, path + ".1": 90} {
		info, err := os.Stat(p)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode())
		require.Equal(t, size, info.Size())
	}
	within(t, time.Second, c.spoke, "the first byte")
}

func TestConsoleThatCannotBeRotatedIsTruncated(t *testing.T) {
	noLeak(t)
	path := filepath.Join(t.TempDir(), "console.log")
	require.NoError(t, os.MkdirAll(path+".1/full", 0o700)) // a rename onto it fails
	c, remote, err := startConsole(path, 10, quiet())
	require.NoError(t, err)
	_, err = remote.WriteString("first text")
	require.NoError(t, err)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		text, err := os.ReadFile(path)
		require.NoError(c, err)
		require.Equal(c, "first text", string(text))
	}, 5*time.Second, time.Millisecond)
	_, err = remote.WriteString("second")
	require.NoError(t, err)
	require.NoError(t, remote.Close())
	c.close()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "second", string(text))
}
