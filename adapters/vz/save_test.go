package vz

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/domain"
)

// savingBench is a bench with a disk, and a place for a state.
func savingBench(t *testing.T) (b *bench, disk, path string) {
	t.Helper()
	b = newBench(t)
	dir := t.TempDir()
	disk, path = filepath.Join(dir, "disk.img"), filepath.Join(dir, "state")
	require.NoError(t, os.WriteFile(disk, []byte("disk"), 0o600))
	b.spec.Plan.Disks = []domain.Disk{{Path: disk}}
	return b, disk, path
}

// save starts the bench's machine, saves its state and takes it down.
func (b *bench) save(t *testing.T, path string) {
	t.Helper()
	vm := b.start(t)
	require.NoError(t, vm.(Pauser).Pause(t.Context()))
	require.NoError(t, vm.(Saver).Save(t.Context(), path))
	require.NoError(t, vm.Kill(t.Context()))
	b.g = newFakeGuest()
	b.f.guest = b.g
}

func TestSaveAndRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, path := savingBench(t)
		b.save(t, path)
		for _, p := range []string{path, recordPath(path)} {
			st, err := os.Stat(p)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), st.Mode().Perm(), p)
		}
		require.NoFileExists(t, path+".partial")
		require.Empty(t, b.f.config.Identifier, "a new machine has a new one")

		b.g.start = func() error { t.Error("started anew"); return nil }
		vm, err := b.h.Restore(t.Context(), b.spec, path)
		require.NoError(t, err)
		require.Equal(t, []byte("identifier"), b.f.config.Identifier)
		synctest.Wait()
		why, _ := vm.(savingMachine).Paused()
		require.Empty(t, why, "it runs")
		require.NoError(t, vm.Kill(t.Context()))
		require.NoError(t, vm.Err())
	})
}

func TestRestoreRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, b *bench, disk, path string)
		want   error
	}{
		"the disk was written": {func(t *testing.T, _ *bench, disk, _ string) {
			require.NoError(t, os.Chtimes(disk, time.Time{}, time.Now().Add(time.Hour)))
		}, domain.ErrInvalidState},
		"the disk is larger": {func(t *testing.T, _ *bench, disk, _ string) {
			st, err := os.Stat(disk)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(disk, 4096))
			require.NoError(t, os.Chtimes(disk, time.Time{}, st.ModTime()))
		}, domain.ErrInvalidState},
		"the disk is gone": {func(t *testing.T, _ *bench, disk, _ string) { require.NoError(t, os.Remove(disk)) }, domain.ErrNotFound},
		"another disk": {func(t *testing.T, b *bench, disk, _ string) {
			b.spec.Plan.Disks[0].ReadOnly = true
		}, domain.ErrInvalidState},
		"more memory":     {func(_ *testing.T, b *bench, _, _ string) { b.spec.Plan.Memory = 1024 }, domain.ErrInvalidState},
		"another machine": {func(_ *testing.T, b *bench, _, _ string) { b.spec.Plan.Name = "dev" }, domain.ErrInvalidState},
		"the state was written": {func(t *testing.T, _ *bench, _, path string) {
			require.NoError(t, os.WriteFile(path, []byte("other memory"), 0o600))
		}, domain.ErrInvalidState},
		"no state":  {func(t *testing.T, _ *bench, _, path string) { require.NoError(t, os.Remove(path)) }, domain.ErrNotFound},
		"no record": {func(t *testing.T, _ *bench, _, path string) { require.NoError(t, os.Remove(recordPath(path))) }, domain.ErrNotFound},
		"damaged record": {func(t *testing.T, _ *bench, _, path string) {
			require.NoError(t, os.WriteFile(recordPath(path), []byte("{\"Format\":"), 0o600))
		}, domain.ErrCorrupt},
		"record without end": {func(t *testing.T, _ *bench, _, path string) {
			require.NoError(t, os.Truncate(recordPath(path), maxRecord+1))
		}, domain.ErrCorrupt},
		"record of another format": {func(t *testing.T, _ *bench, _, path string) {
			data, err := os.ReadFile(recordPath(path))
			require.NoError(t, err)
			data = []byte(strings.Replace(string(data), `"Format": 1`, `"Format": 2`, 1))
			require.NoError(t, os.WriteFile(recordPath(path), data, 0o600))
		}, domain.ErrInvalidState},
		"older macOS": {func(_ *testing.T, b *bench, _, _ string) {
			f := *b.f
			f.facts.Version = "13.6"
			b.h = newHypervisor(Options{}, &f, "arm64", quiet)
		}, domain.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, disk, path := savingBench(t)
				b.save(t, path)
				test.change(t, b, disk, path)
				b.f.config = Configuration{}
				vm, err := b.h.Restore(t.Context(), b.spec, path)
				require.ErrorIs(t, err, test.want)
				require.True(t, vm == nil, "no typed nil")
				require.Empty(t, b.f.config, "nothing was built")
			})
		})
	}
	b, _, _ := savingBench(t)
	_, err := b.h.Restore(t.Context(), b.spec, "relative")
	require.ErrorIs(t, err, domain.ErrInvalid)
}

// After a restore that fails in the framework nothing holds the disks.
func TestRestoreThatFails(t *testing.T) {
	cause := &frameworkError{vzDomain, vzRestore, "invalid argument"}
	for name, change := range map[string]func(*fakeGuest, *int){
		"restore": func(g *fakeGuest, _ *int) { g.restore = func(string) error { return cause } },
		"resume": func(g *fakeGuest, stops *int) {
			g.resume = func() error { return cause }
			g.stop = func() error { *stops++; return nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _, path := savingBench(t)
				b.save(t, path)
				stops := 0
				change(b.g, &stops)
				_, err := b.h.Restore(t.Context(), b.spec, path)
				require.ErrorIs(t, err, cause)
				require.ErrorIs(t, err, domain.ErrInvalidState)
				require.NotEmpty(t, domain.Hint(err))
				<-b.g.released
				require.Equal(t, name == "resume", stops == 1)
			})
		})
	}
}

// What is there after a save that failed is no state that could be restored.
func TestSaveThatFails(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		save func(g *fakeGuest, cancel func())
		want error
	}{
		"in the framework": {func(g *fakeGuest, _ func()) { g.save = func(string) error { return broken } }, broken},
		"half-way": {func(g *fakeGuest, _ func()) {
			g.save = func(p string) error { return errors.Join(os.WriteFile(p, []byte("half"), 0o600), broken) }
		}, broken},
		"without a file": {func(g *fakeGuest, _ func()) { g.save = func(string) error { return nil } }, domain.ErrNotFound},
		"given up": {func(g *fakeGuest, cancel func()) {
			save := g.save
			g.save = func(p string) error { cancel(); time.Sleep(time.Second); return save(p) }
		}, domain.ErrCanceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _, path := savingBench(t)
				vm := b.start(t)
				require.NoError(t, vm.(Pauser).Pause(t.Context()))
				require.NoError(t, vm.(Saver).Save(t.Context(), path), "an older state is there")

				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				test.save(b.g, cancel)
				require.ErrorIs(t, vm.(Saver).Save(ctx, path), test.want)
				time.Sleep(2 * time.Second)
				for _, p := range []string{path, recordPath(path), path + ".partial"} {
					require.NoFileExists(t, p)
				}
				require.NoError(t, vm.Kill(t.Context()))
			})
		})
	}
}

func TestSaveChecksThePath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, _ := savingBench(t)
		vm := b.start(t)
		for _, path := range []string{"", "state", "/tmp/a\x00b", "/tmp/\xff"} {
			require.ErrorIs(t, vm.(Saver).Save(t.Context(), path), domain.ErrInvalid)
		}
		require.NoError(t, vm.Kill(t.Context()))
		require.ErrorIs(t, vm.(Saver).Save(t.Context(), "/tmp/state"), domain.ErrNotRunning)
	})
}

// A machine has the capability where all of host, macOS and devices have it.
func TestOnlySomeMachinesAreSavers(t *testing.T) {
	for name, test := range map[string]struct {
		version, arch string
		savable       error
		host, machine bool
	}{
		"all of it":       {"14.0", "arm64", nil, true, true},
		"newer":           {"26.1", "arm64", nil, true, true},
		"older macOS":     {"13.6.1", "arm64", nil, false, false},
		"Intel":           {"14.6.1", "amd64", nil, false, false},
		"not its devices": {"14.6.1", "arm64", &frameworkError{vzDomain, 2, "entropy"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.f.facts.Version, b.h.arch, b.g.savable = test.version, test.arch, test.savable
				if test.arch == "amd64" {
					require.NoError(t, os.WriteFile(b.spec.Plan.Kernel, image(0x202, "HdrS"), 0o600))
				}
				c, err := b.h.Capabilities(t.Context())
				require.NoError(t, err)
				require.Equal(t, test.host, c.SaveRestore)
				require.Equal(t, test.host, c.WhyNot == "")
				require.Equal(t, RosettaNotInstalled, c.Rosetta)
				vm := b.start(t)
				_, ok := vm.(Saver)
				require.Equal(t, test.machine, ok)
				_, ok = vm.(Pauser)
				require.True(t, ok)
				require.NoError(t, vm.Kill(t.Context()))
			})
		})
	}
}
