package vz

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/application/port"
	"arcbox/domain"
)

func TestProbeLooksOnce(t *testing.T) {
	b := newBench(t)
	for range 3 {
		info, err := b.h.Probe(t.Context())
		require.NoError(t, err)
		require.Equal(t, domain.AcceleratorHVF, info.Accelerator)
	}
	require.Equal(t, 1, b.f.asked)
}

func TestStartRefuses(t *testing.T) {
	link := func(t *testing.T, kind int) port.NetworkLink {
		f, _ := pair(t, kind)
		return fakeLink{f}
	}
	for name, test := range map[string]struct {
		change func(*testing.T, *bench)
		err    error
	}{
		"old macOS":      {func(_ *testing.T, b *bench) { b.f.facts.Version = "12.0" }, domain.ErrUnsupported},
		"no facts":       {func(_ *testing.T, b *bench) { b.f.factsErr = domain.ErrUnsupported }, domain.ErrUnsupported},
		"bad plan":       {func(_ *testing.T, b *bench) { b.spec.Plan.CPUs = 0 }, domain.ErrInvalid},
		"no Rosetta":     {func(_ *testing.T, b *bench) { b.spec.Plan.Name = domain.RosettaMachine }, domain.ErrUnsupported},
		"no kernel file": {func(_ *testing.T, b *bench) { b.spec.Plan.Kernel += "x" }, domain.ErrNotFound},
		"no console dir": {func(_ *testing.T, b *bench) { b.spec.Plan.ConsoleLog = b.spec.Plan.Kernel + "/x" }, domain.ErrUnavailable},
		"stream link": {func(t *testing.T, b *bench) {
			b.spec.Plan.MAC, b.spec.Link = goldenPlan().MAC, link(t, unix.SOCK_STREAM)
		}, domain.ErrInvalid},
		"build": {func(t *testing.T, b *bench) {
			b.spec.Plan.MAC, b.spec.Link = goldenPlan().MAC, link(t, unix.SOCK_DGRAM)
			b.spec.Plan.ConsoleLog = b.spec.Plan.Kernel + ".log"
			b.f.buildErr = &frameworkError{vzDomain, vzInvalidConfiguration, "no"}
		}, domain.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			test.change(t, b)
			vm, err := b.h.Start(t.Context(), b.spec)
			require.ErrorIs(t, err, test.err)
			require.True(t, vm == nil, "no typed nil")
			for _, f := range []*os.File{b.f.files.Link, b.f.files.ConsoleInput, b.f.files.ConsoleOutput} {
				if f != nil {
					require.ErrorIs(t, f.Close(), os.ErrClosed)
				}
			}
		})
	}
}

// With everything attached, over real sockets and pipes.
func TestMachineWithConsoleAndLink(t *testing.T) {
	b := newBench(t)
	ours, gateway := pair(t, unix.SOCK_DGRAM)
	b.f.facts.Rosetta = RosettaInstalled
	b.spec.Link = fakeLink{ours}
	b.spec.Plan.Name = domain.RosettaMachine
	b.spec.Plan.CPUs, b.spec.Plan.MAC, b.spec.Plan.MTU = 64, goldenPlan().MAC, 4000
	b.spec.Plan.Cmdline = "console=ttyS0"
	b.spec.Plan.ConsoleLog = filepath.Join(t.TempDir(), "console.log")
	vm := b.start(t)
	require.Equal(t, rosettaTag, b.f.config.Rosetta)
	require.Equal(t, 2, b.f.config.CPUs, "within the host's limits")
	require.Equal(t, "console=hvc0", b.f.config.Cmdline)
	_, err := b.f.files.ConsoleOutput.WriteString("Kernel panic - not syncing")
	require.NoError(t, err)
	_, err = b.f.files.Link.WriteString("frame")
	require.NoError(t, err)
	buf := make([]byte, 64)
	n, err := gateway.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "frame", string(buf[:n]))

	b.g.states <- stateError
	<-vm.Done()
	require.ErrorIs(t, vm.Err(), domain.ErrUnavailable)
	require.ErrorContains(t, vm.Err(), "Kernel panic")
	require.Equal(t, "Kernel panic - not syncing", read(t, b.spec.Plan.ConsoleLog))
	require.ErrorIs(t, b.f.files.Link.Close(), os.ErrClosed)
	require.NoError(t, ours.Close(), "the link keeps its own")
}
