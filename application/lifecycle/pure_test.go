package lifecycle

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

func TestCmdline(t *testing.T) {
	network := GuestNetwork{
		Address: netip.MustParsePrefix("10.0.2.2/24"), Gateway: netip.MustParseAddr("10.0.2.1"),
		Address6: netip.MustParsePrefix("fd00:a::2/64"), Gateway6: netip.MustParseAddr("fd00:a::1"), MTU: 65000,
	}
	const ours = "arcbox.guest_docker_vsock_port=2375 arcbox.ip=10.0.2.2/24 arcbox.gateway=10.0.2.1 " +
		"arcbox.ip6=fd00:a::2/64 arcbox.gateway6=fd00:a::1 arcbox.mtu=65000"
	for base, want := range map[string]string{
		"":                                     ours,
		"console=hvc0  root=/dev/vda ro quiet": "console=hvc0 root=/dev/vda ro " + ours,
		"ro ro console=a console=b":            "ro console=a console=b " + ours,
		"arcbox.mtu=1 arcbox.mtux=2 quietly arcbox.log": "arcbox.mtux=2 quietly arcbox.log " + ours,
		ours: ours,
	} {
		require.Equal(t, want, Cmdline(base, 2375, network), "%q", base)
	}
	require.Equal(t, "ro", Cmdline("ro quiet", 0, GuestNetwork{}))
	twice := Cmdline(Cmdline("ro quiet", 2375, network), 2375, network)
	require.Equal(t, Cmdline("ro quiet", 2375, network), twice)
}

func TestWantedMachine(t *testing.T) {
	assets := domain.BootAssets{Kernel: "k", Rootfs: "r", Cmdline: "c"}
	o := Options{Machine: "default", CPUs: 1, Memory: 512, Disk: 9, DataDisk: "d"}
	m := WantedMachine(o, assets, "rt")
	require.Equal(t, domain.Machine{
		Name: "default", CPUs: 1, Memory: 512, Disk: 9, Kernel: "k", Cmdline: "c",
		Disks: []domain.Disk{{Path: "r", ReadOnly: true}, {Path: "d", Discard: true}, {Path: "rt", ReadOnly: true}},
	}, m)
	o.Kernel, o.Cmdline = "mine", "own"
	m = WantedMachine(o, assets, "rt")
	require.Equal(t, "mine", m.Kernel)
	require.Equal(t, "own", m.Cmdline)
}

func TestUndoClosesLastFirstAndKeepsWhatFailed(t *testing.T) {
	var order []string
	broken := true
	var u undo
	add := func(name string, fails bool) {
		u.add(name, func(context.Context) error {
			order = append(order, name)
			if fails && broken {
				return domain.ErrTimeout
			}
			return nil
		})
	}
	add("first", true)
	add("second", false)
	add("third", true)
	err := u.close(t.Context())
	require.ErrorIs(t, err, domain.ErrTimeout)
	require.ErrorContains(t, err, "closing the first")
	require.ErrorContains(t, err, "closing the third")
	broken = false
	require.NoError(t, u.close(t.Context()))
	require.NoError(t, u.close(t.Context()))
	require.Equal(t, "third second first third first", strings.Join(order, " "))
}

func TestIdleDecision(t *testing.T) {
	timing := Timing{Idle: 5 * time.Minute, Stop: 10 * time.Minute}
	const min = time.Minute
	for name, c := range map[string]struct {
		state  domain.LifecycleState
		usage  usage
		timing Timing
		event  domain.LifecycleEvent
		next   time.Duration
	}{
		"in use lately":        {domain.StateRunning, usage{now: 7 * min, last: 3 * min}, timing, nil, 8 * min},
		"unused":               {domain.StateRunning, usage{now: 8 * min, last: 3 * min}, timing, domain.IdleTimeout{}, 0},
		"held":                 {domain.StateRunning, usage{now: 90 * min, holds: 1}, timing, nil, 95 * min},
		"never idles":          {domain.StateRunning, usage{now: 90 * min}, Timing{}, nil, 0},
		"idles":                {domain.StateIdle, usage{now: 9 * min, last: 3 * min, seen: 3 * min, since: 8 * min}, timing, nil, 18 * min},
		"idled long":           {domain.StateIdle, usage{now: 18 * min, last: 3 * min, seen: 3 * min, since: 8 * min}, timing, domain.Stop{}, 0},
		"idled long, held":     {domain.StateIdle, usage{now: 18 * min, holds: 1, since: 8 * min}, timing, domain.Activity{}, 0},
		"idled long, but used": {domain.StateIdle, usage{now: 18 * min, last: 4 * min, seen: 3 * min, since: 8 * min}, timing, domain.Activity{}, 0},
		"idles for ever":       {domain.StateIdle, usage{now: 99 * min}, Timing{Idle: min}, nil, 0},
		"down":                 {domain.StateStopped, usage{now: 99 * min}, timing, nil, 0},
		"boots":                {domain.StateStarting, usage{now: 99 * min}, timing, nil, 0},
	} {
		event, next := idleDecision(c.state, c.usage, c.timing)
		require.Equal(t, c.event, event, name)
		require.Equal(t, c.next, next, name)
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	good := Options{Machine: "default", CPUs: 1, Memory: 512, Disk: 1, DataDisk: "d", Timing: DefaultTiming()}
	require.NoError(t, good.check())
	for name, spoil := range map[string]func(*Options){
		"name":   func(o *Options) { o.Machine = "Default!" },
		"cpus":   func(o *Options) { o.CPUs = 0 },
		"memory": func(o *Options) { o.Memory = 0 },
		"disk":   func(o *Options) { o.DataDisk = "" },
		"budget": func(o *Options) { o.Timing.Startup = 0 },
		"idle":   func(o *Options) { o.Timing.Idle = -1 },
	} {
		o := good
		spoil(&o)
		_, err := New(o, Ports{})
		require.True(t, errors.Is(err, domain.ErrInvalid), name)
	}
}
