package daemon

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"arcbox/domain"
)

const helperEnv = "ARCBOX_TEST_DAEMON_DIR"

// TestMain lets the test binary stand for a daemon: it takes the lock and
// waits for a signal.
func TestMain(m *testing.M) {
	dir := os.Getenv(helperEnv)
	if dir == "" {
		goleak.VerifyTestMain(m)
		return
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM)
	l, err := Acquire(Paths{dir})
	if err != nil {
		_, _ = os.Stderr.WriteString("arcbox: " + err.Error() + "\n")
		os.Exit(1)
	}
	_ = os.WriteFile(filepath.Join(dir, "serving"), nil, 0o600)
	<-signals
	if os.Getenv("ARCBOX_TEST_STUBBORN") != "" {
		<-signals
	}
	_ = l.Release()
	os.Exit(0)
}

func spawn(t *testing.T, p Paths) (int, error) {
	t.Helper()
	t.Setenv(helperEnv, p.DataDir)
	self, err := os.Executable()
	require.NoError(t, err)
	return Spawn(t.Context(), p, self, nil, func(context.Context) bool {
		_, err := os.Stat(filepath.Join(p.DataDir, "serving"))
		return err == nil
	})
}

func TestSpawnProbeStop(t *testing.T) {
	p := Paths{t.TempDir()}
	_, running, err := Probe(p)
	require.NoError(t, err)
	require.False(t, running)

	pid, err := spawn(t, p)
	require.NoError(t, err)
	got, running, err := Probe(p)
	require.NoError(t, err)
	require.True(t, running)
	require.Equal(t, pid, got)

	_, err = spawn(t, p)
	require.ErrorIs(t, err, domain.ErrAlreadyRunning)
	require.ErrorContains(t, err, strconv.Itoa(pid))

	stopped, err := Stop(t.Context(), p, false)
	require.NoError(t, err)
	require.True(t, stopped)
	stopped, err = Stop(t.Context(), p, false)
	require.NoError(t, err)
	require.False(t, stopped, "a second stop finds nothing")
}

func TestOfManyStartsExactlyOneWins(t *testing.T) {
	p := Paths{t.TempDir()}
	t.Setenv(helperEnv, p.DataDir)
	self, err := os.Executable()
	require.NoError(t, err)
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = Spawn(t.Context(), p, self, nil, func(context.Context) bool { return true })
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		require.ErrorIs(t, err, domain.ErrAlreadyRunning)
	}
	require.Equal(t, 1, won)
	_, err = Stop(t.Context(), p, false)
	require.NoError(t, err)
}

func TestADaemonThatEndsEarlyShowsItsError(t *testing.T) {
	p := Paths{t.TempDir()}
	_, err := Spawn(t.Context(), p, "/bin/sh", []string{"-c", "echo noise >&2; echo 'arcbox: no disk left' >&2; exit 1"},
		func(context.Context) bool { return true })
	require.ErrorContains(t, err, "the daemon ended while it started: no disk left")
	leftovers, err := filepath.Glob(filepath.Join(p.RunDir(), "daemon-start-*"))
	require.NoError(t, err)
	require.Empty(t, leftovers)
}

func TestForceSendsTheSecondSignal(t *testing.T) {
	t.Setenv("ARCBOX_TEST_STUBBORN", "1")
	p := Paths{t.TempDir()}
	_, err := spawn(t, p)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = Stop(ctx, p, false)
	require.ErrorIs(t, err, domain.ErrTimeout)
	require.NotEmpty(t, domain.Hint(err))
	stopped, err := Stop(t.Context(), p, true)
	require.NoError(t, err)
	require.True(t, stopped)
}

func TestTheKernelReleasesTheLockOfAKilledDaemon(t *testing.T) {
	p := Paths{t.TempDir()}
	pid, err := spawn(t, p)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { _, running, err := Probe(p); return err == nil && !running }, 5*time.Second, 10*time.Millisecond)
	l, err := Acquire(p)
	require.NoError(t, err, "a stale file with a dead process id does not matter")
	require.NoError(t, l.Release())
}

func TestLongPathsAreRefusedBeforeAnythingIsMade(t *testing.T) {
	p := Paths{filepath.Join(t.TempDir(), strings.Repeat("d", 120))}
	_, err := Acquire(p)
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.Contains(t, domain.Hint(err), "--data-dir")
	_, err = os.Stat(p.DataDir)
	require.True(t, errors.Is(err, os.ErrNotExist))
}
