package kvm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

const (
	// brokenKVM is a QEMU that aborts on KVM as one with a processor that cannot
	// be set up does.
	brokenKVM = `case "$*" in *"-accel kvm"*) echo "qemu: error: failed to set MSR 0x10a" >&2; echo "more" >&2; kill -ABRT $$;; esac; exec "$QEMU" "$@"`
	// emulatedKVM is a QEMU whose KVM is emulation: it stands for one that works.
	emulatedKVM = `
for a do shift
	case "$previous" in
	-accel) [ "$a" = kvm ] && a=tcg;;
	-cpu) [ "$a" = host ] && a=max;;
	esac
	previous=$a; set -- "$@" "$a"
done
exec "$QEMU" "$@"`
)

// device returns a file that can be opened as /dev/kvm is.
func device(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kvm")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	return path
}

func TestProbeOfThisHost(t *testing.T) {
	noLeak(t)
	h := New(Options{Binary: realQEMU(t)}, nil, quiet())
	info, err := h.Probe(t.Context())
	require.NoError(t, err)
	require.Equal(t, "qemu", info.Driver)
	require.Equal(t, info.Accelerator == domain.AcceleratorTCG, info.Reason != "", "%+v", info)
	t.Logf("%+v", info)
}

func TestProbeIsDoneOnce(t *testing.T) {
	noLeak(t)
	realQEMU(t)
	binary, runs := script(t, brokenKVM)
	o := Options{Binary: binary, KVMDevice: device(t), VerdictFile: filepath.Join(t.TempDir(), "verdict.json")}
	want := domain.HypervisorInfo{
		Driver: "qemu", Accelerator: domain.AcceleratorTCG,
		Reason: "KVM does not work on this host: qemu: error: failed to set MSR 0x10a",
	}
	probe := func() {
		t.Helper()
		h := New(o, nil, quiet())
		for range 2 {
			info, err := h.Probe(t.Context())
			require.NoError(t, err)
			want.Version = info.Version
			require.Equal(t, want, info)
		}
	}
	probe()
	require.Equal(t, 1, countRuns(t, runs, "-accel kvm"))
	require.Equal(t, 1, countRuns(t, runs, "-version"))
	probe() // by another daemon
	require.Equal(t, 1, countRuns(t, runs, "-accel kvm"))
	require.Equal(t, 1, countRuns(t, runs, "-version"))

	later := time.Now().Add(time.Hour) // QEMU was updated
	require.NoError(t, os.Chtimes(binary, later, later))
	probe()
	require.Equal(t, 2, countRuns(t, runs, "-accel kvm"))
	require.Equal(t, 2, countRuns(t, runs, "-version"))
}

func TestProbeOfKVMThatStarts(t *testing.T) {
	noLeak(t)
	realQEMU(t)
	binary, runs := script(t, emulatedKVM)
	for _, wish := range []domain.Accelerator{domain.AcceleratorAuto, domain.AcceleratorKVM} {
		h := New(Options{Binary: binary, KVMDevice: device(t), Accelerator: wish}, nil, quiet())
		info, err := h.Probe(t.Context())
		require.NoError(t, err)
		require.Equal(t, domain.AcceleratorKVM, info.Accelerator)
		require.Empty(t, info.Reason)
	}
	require.Equal(t, 2, countRuns(t, runs, "-accel kvm -cpu host"))
}

func TestDeviceThatCannotBeOpened(t *testing.T) {
	realQEMU(t)
	unreadable := device(t)
	require.NoError(t, os.Chmod(unreadable, 0))
	devices := map[string]struct{ path, hint string }{
		"missing":  {filepath.Join(t.TempDir(), "kvm"), "firmware"},
		"a folder": {t.TempDir(), "vm.accelerator"},
	}
	if os.Getuid() != 0 { // root may open everything
		devices["unreadable"] = struct{ path, hint string }{unreadable, "usermod"}
	}
	for name, d := range devices {
		t.Run(name, func(t *testing.T) {
			binary, runs := script(t, emulatedKVM)
			o := Options{Binary: binary, KVMDevice: d.path, VerdictFile: filepath.Join(t.TempDir(), "verdict.json")}
			h := New(o, nil, quiet())
			info, err := h.Probe(t.Context())
			require.NoError(t, err)
			require.Equal(t, domain.AcceleratorTCG, info.Accelerator)
			require.Contains(t, info.Reason, d.path)

			o.Accelerator = domain.AcceleratorKVM
			_, err = New(o, nil, quiet()).Probe(t.Context())
			require.ErrorIs(t, err, domain.ErrUnsupported)
			require.ErrorContains(t, err, d.path)
			require.Contains(t, domain.Hint(err), d.hint)
			require.Zero(t, countRuns(t, runs, "-accel"))
		})
	}
	t.Run("rights that come later are seen", func(t *testing.T) {
		binary, _ := script(t, emulatedKVM)
		path := filepath.Join(t.TempDir(), "kvm")
		h := New(Options{Binary: binary, KVMDevice: path}, nil, quiet())
		info, err := h.Probe(t.Context())
		require.NoError(t, err)
		require.Equal(t, domain.AcceleratorTCG, info.Accelerator)
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		info, err = h.Probe(t.Context())
		require.NoError(t, err)
		require.Equal(t, domain.AcceleratorKVM, info.Accelerator)
	})
}

func TestWishes(t *testing.T) {
	realQEMU(t)
	t.Run("KVM that is unusable is an error", func(t *testing.T) {
		binary, runs := script(t, brokenKVM)
		h := New(Options{Binary: binary, KVMDevice: device(t), Accelerator: domain.AcceleratorKVM}, nil, quiet())
		_, err := h.Probe(t.Context())
		require.ErrorIs(t, err, domain.ErrUnsupported)
		require.ErrorContains(t, err, "failed to set MSR 0x10a")
		require.NotEmpty(t, domain.Hint(err))
		_, err = h.Start(t.Context(), port.VMSpec{Plan: testPlan(t)})
		require.ErrorIs(t, err, domain.ErrUnsupported)
		require.Equal(t, 2, countRuns(t, runs, "-accel kvm"), "a wish for KVM tries again")
	})
	t.Run("the plan's wish comes first", func(t *testing.T) {
		binary, runs := script(t, brokenKVM)
		h := New(Options{Binary: binary, KVMDevice: device(t), Accelerator: domain.AcceleratorKVM}, nil, quiet())
		plan := testPlan(t)
		plan.Accelerator = domain.AcceleratorTCG
		m := start(t, h, port.VMSpec{Plan: plan})
		require.Equal(t, domain.AcceleratorTCG, m.Info().Accelerator)
		require.Zero(t, countRuns(t, runs, "-accel kvm"))
	})
}

func TestNoUsableQEMU(t *testing.T) {
	answers := func(text string) string {
		binary, _ := script(t, text)
		return binary
	}
	tests := map[string]struct{ binary, says string }{
		"missing":        {filepath.Join(t.TempDir(), "none"), "looking for QEMU"},
		"too old":        {answers(`echo "QEMU emulator version 6.2.0 (Debian)"`), "QEMU 6.2.0, ArcBox needs 7.2.0"},
		"fails":          {answers(`echo "libfoo.so: not found" >&2; exit 127`), "libfoo.so"},
		"something else": {answers(`echo hello`), "no QEMU version"},
		"not a program":  {t.TempDir(), "looking for QEMU"},
		"cannot be spawned": {func() string {
			path := filepath.Join(t.TempDir(), "x")
			require.NoError(t, os.WriteFile(path, []byte("#!/none\n"), 0o700))
			return path
		}(), "starting QEMU"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			noLeak(t)
			_, err := New(Options{Binary: tt.binary}, nil, quiet()).Probe(t.Context())
			require.ErrorIs(t, err, domain.ErrUnsupported)
			require.ErrorContains(t, err, tt.says)
			require.Contains(t, domain.Hint(err), "install")
		})
	}
	t.Run("hangs", func(t *testing.T) {
		noLeak(t)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := New(Options{Binary: answers("exec sleep 100")}, nil, quiet()).Probe(ctx)
		require.ErrorIs(t, err, domain.ErrTimeout)
	})
}

func TestFindBinary(t *testing.T) {
	none := func(string) string { return "" }
	shell, err := exec.LookPath("sh")
	require.NoError(t, err)
	got, err := findBinary("sh", ArchAMD64, none)
	require.NoError(t, err)
	require.Equal(t, shell, got)
	got, err = findBinary("", ArchAMD64, func(k string) string { return map[string]string{"QEMU_SYSTEM_X86_64": shell}[k] })
	require.NoError(t, err)
	require.Equal(t, shell, got)
	got, err = findBinary("", ArchARM64, func(k string) string { return map[string]string{"QEMU_SYSTEM_AARCH64": shell}[k] })
	require.NoError(t, err)
	require.Equal(t, shell, got)
	_, err = findBinary("", ArchARM64, func(string) string { return filepath.Join(t.TempDir(), "none") })
	require.ErrorIs(t, err, domain.ErrUnsupported)
	require.Contains(t, domain.Hint(err), "qemu-system-arm")
}
