package kvm

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

// patience is for guests that never speak; the others get the default, to be
// right on a busy host too.
const patience = 500 * time.Millisecond

// onKVM returns a hypervisor whose QEMU is the script, on a host where KVM can
// be opened.
func onKVM(t *testing.T, body string) (h *Hypervisor, runs string) {
	t.Helper()
	realQEMU(t)
	binary, runs := script(t, body)
	return New(Options{
		Binary: binary, KVMDevice: device(t), VerdictFile: filepath.Join(t.TempDir(), "verdict.json"),
	}, nil, quiet()), runs
}

func TestSilentGuestOnKVMIsStartedAgainEmulated(t *testing.T) {
	noLeak(t)
	h, runs := onKVM(t, emulatedKVM)
	h.options.FirstByteTimeout = patience
	vsock := &fakeVsock{vhostUser: true}
	h.vsock = vsock
	m := start(t, h, port.VMSpec{Plan: testPlan(t)})
	require.Equal(t, domain.AcceleratorTCG, m.Info().Accelerator)
	require.Equal(t, "KVM does not work on this host: the guest showed no sign of life within 500ms", m.Info().Reason)
	require.Len(t, vsock.opened, 2, "a device for each run")
	require.Equal(t, 1, vsock.opened[0].closes())
	require.Zero(t, vsock.opened[1].closes())

	// The verdict is remembered, by another daemon too.
	info, err := New(h.options, nil, quiet()).Probe(t.Context())
	require.NoError(t, err)
	require.Equal(t, m.Info(), info)
	start(t, h, port.VMSpec{Plan: testPlan(t)})
	require.Equal(t, 2, countRuns(t, runs, "-accel kvm"), "one probe, one run")
	require.Equal(t, 2, countRuns(t, runs, "-accel tcg"))
}

func TestGuestOnKVMThatSpeaks(t *testing.T) {
	noLeak(t)
	h, runs := onKVM(t, emulatedKVM)
	m := start(t, h, port.VMSpec{Plan: testPlan(t, say("hello\n"))})
	require.Equal(t, domain.AcceleratorKVM, m.Info().Accelerator)
	require.Empty(t, m.Info().Reason)
	// KVM is proven: from now on silence is the guest's own affair.
	h.options.FirstByteTimeout = patience
	m = start(t, h, port.VMSpec{Plan: testPlan(t)})
	require.Equal(t, domain.AcceleratorKVM, m.Info().Accelerator)
	require.Zero(t, countRuns(t, runs, "-accel tcg"))
}

func TestGuestThatIsNotToldToSpeakIsNotWatched(t *testing.T) {
	h, _ := onKVM(t, emulatedKVM)
	h.options.FirstByteTimeout = patience
	for name, change := range map[string]func(*domain.VMPlan){
		"no console in the command line": func(p *domain.VMPlan) { p.Cmdline = "quiet" },
		"no console log":                 func(p *domain.VMPlan) { p.ConsoleLog = "" },
		"KVM wished for":                 func(p *domain.VMPlan) { p.Accelerator = domain.AcceleratorKVM },
	} {
		t.Run(name, func(t *testing.T) {
			plan := testPlan(t)
			change(&plan)
			m := start(t, h, port.VMSpec{Plan: plan})
			require.Equal(t, domain.AcceleratorKVM, m.Info().Accelerator)
		})
	}
}

func TestGuestOnKVMThatEndsEarly(t *testing.T) {
	t.Run("crash", func(t *testing.T) {
		noLeak(t)
		h, _ := onKVM(t, emulatedKVM)
		m := start(t, h, port.VMSpec{Plan: testPlan(t, codeReset)})
		require.Equal(t, domain.AcceleratorTCG, m.Info().Accelerator)
		require.Contains(t, m.Info().Reason, "the guest reset itself")
	})
	t.Run("power-off", func(t *testing.T) {
		noLeak(t)
		h, _ := onKVM(t, emulatedKVM)
		m := start(t, h, port.VMSpec{Plan: testPlan(t, codePowerOff)})
		require.Equal(t, domain.AcceleratorKVM, m.Info().Accelerator)
		require.NoError(t, m.Err())
	})
}

func TestQEMUThatAbortsOnKVMAfterTheProbe(t *testing.T) {
	noLeak(t)
	h, _ := onKVM(t, `case "$*" in *guest=arcbox-probe*) ;; `+brokenKVM[len("case \"$*\" in "):len(brokenKVM)-len(`exec "$QEMU" "$@"`)]+emulatedKVM)
	info, err := h.Probe(t.Context())
	require.NoError(t, err)
	require.Equal(t, domain.AcceleratorKVM, info.Accelerator)
	m := start(t, h, port.VMSpec{Plan: testPlan(t)})
	require.Equal(t, domain.AcceleratorTCG, m.Info().Accelerator)
	require.Contains(t, m.Info().Reason, "failed to set MSR 0x10a")
}

func TestWrongArgumentIsNotKVMsFault(t *testing.T) {
	noLeak(t)
	h, runs := onKVM(t, emulatedKVM)
	plan := testPlan(t)
	plan.Kernel += "-none"
	_, err := h.Start(t.Context(), port.VMSpec{Plan: plan})
	require.ErrorContains(t, err, "could not open kernel")
	require.Zero(t, countRuns(t, runs, "-accel tcg"))
	info, err := h.Probe(t.Context())
	require.NoError(t, err)
	require.Equal(t, domain.AcceleratorKVM, info.Accelerator)
}

func TestCallerGivesUpWaitingForLife(t *testing.T) {
	noLeak(t)
	h, runs := onKVM(t, emulatedKVM)
	h.options.FirstByteTimeout = time.Minute
	_, err := h.Probe(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = h.Start(ctx, port.VMSpec{Plan: testPlan(t)})
	require.ErrorIs(t, err, domain.ErrTimeout)
	require.Zero(t, countRuns(t, runs, "-accel tcg"))
	info, err := h.Probe(t.Context())
	require.NoError(t, err)
	require.Equal(t, domain.AcceleratorKVM, info.Accelerator, "nothing was found out")
}
