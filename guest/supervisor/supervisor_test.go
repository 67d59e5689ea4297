package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
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
	"arcbox/guest/logring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type plain struct{}

func (plain) Start(cmd *exec.Cmd) (func() error, error) { return cmd.Wait, cmd.Start() }

// record keeps every reported status and lets tests wait for one.
type record struct {
	mu  sync.Mutex
	all []domain.ServiceStatus
}

func (r *record) add(s domain.ServiceStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
}

func (r *record) history() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, s := range r.all {
		out = append(out, fmt.Sprintf("%s %s %d", s.Name, s.State, s.Restarts))
	}
	return out
}

func (r *record) await(t *testing.T, want string) domain.ServiceStatus {
	t.Helper()
	var found domain.ServiceStatus
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, s := range r.all {
			if fmt.Sprintf("%s %s %d", s.Name, s.State, s.Restarts) == want {
				found = s
				return true
			}
		}
		return false
	}, 10*time.Second, 2*time.Millisecond, want)
	return found
}

func build(pause Pause, specs ...Spec) (*Supervisor, *record) {
	r, logs := &record{}, logring.New()
	return New(specs, pause, Deps{
		Starter: plain{}, Report: r.add, Log: slog.New(slog.DiscardHandler), Tail: logs.Tail,
		Output: func(name string) Output { return logs.Writer(name) },
	}), r
}

var quick = Pause{First: time.Millisecond, Last: 10 * time.Millisecond, Healthy: time.Minute}

func shell(name, script string, ready func(context.Context) error) Spec {
	if ready == nil {
		ready = func(context.Context) error { return nil }
	}
	return Spec{
		Name: name, Ready: ready, ReadyTimeout: 10 * time.Second, StopTimeout: 5 * time.Second,
		Command: func() *exec.Cmd { return exec.Command("sh", "-c", script) },
	}
}

func exists(path string) func(context.Context) error {
	return func(context.Context) error {
		_, err := os.Stat(path)
		return err
	}
}

func TestServicesStartInOrderAndStopInReverse(t *testing.T) {
	dir := t.TempDir()
	up, order := filepath.Join(dir, "up"), filepath.Join(dir, "order")
	lower := shell("lower", "sleep 0.1; touch "+up+"; trap 'echo lower >>"+order+"; exit 0' TERM; while :; do sleep 0.02; done", exists(up))
	upper := shell("upper", "test -e "+up+" || exit 9; trap 'sleep 0.1; echo upper >>"+order+"; exit 0' TERM; touch "+up+"2; while :; do sleep 0.02; done", exists(up+"2"))
	upper.After = []string{"lower"}
	s, r := build(quick, lower, upper)
	s.Start()
	r.await(t, "upper ready 0")
	s.Stop(t.Context())
	got, err := os.ReadFile(order)
	require.NoError(t, err)
	require.Equal(t, "upper\nlower\n", string(got))
	h := r.history()
	require.Equal(t, []string{"upper stopped 0", "lower stopped 0"}, h[len(h)-2:])
}

func TestACrashIsReportedWithTheEndOfTheLogAndRestarted(t *testing.T) {
	dir := t.TempDir()
	flag, pid := filepath.Join(dir, "flag"), filepath.Join(dir, "pid")
	s, r := build(quick, shell("svc", "if test -e "+flag+"; then echo $$ >"+pid+"; exec sleep 60; fi; touch "+flag+"; echo going down; exit 3",
		exists(pid)))
	s.Start()
	defer s.Stop(t.Context())
	failed := r.await(t, "svc failed 0")
	require.Contains(t, failed.Detail, "exit status 3")
	require.Contains(t, failed.Detail, "going down")
	r.await(t, "svc ready 1")
	b, err := os.ReadFile(pid)
	require.NoError(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(n, syscall.SIGKILL))
	require.Contains(t, r.await(t, "svc failed 1").Detail, "killed")
	r.await(t, "svc ready 2")
}

func TestPausesGrow(t *testing.T) {
	s, r := build(Pause{First: 20 * time.Millisecond, Last: 80 * time.Millisecond, Healthy: time.Minute},
		shell("svc", "exit 1", func(context.Context) error { return errors.New("no") }))
	begin := time.Now()
	s.Start()
	defer s.Stop(t.Context())
	r.await(t, "svc failed 4")
	require.GreaterOrEqual(t, time.Since(begin), (20+40+80+80)*time.Millisecond)
}

func TestAHealthyRunMakesTheNextPauseShortAgain(t *testing.T) {
	s, r := build(Pause{First: time.Millisecond, Last: time.Hour, Healthy: 20 * time.Millisecond},
		shell("svc", "sleep 0.06; exit 1", nil))
	s.Start()
	defer s.Stop(t.Context())
	// Without it the pause would be over a second by then.
	begin := time.Now()
	r.await(t, "svc starting 12")
	require.Less(t, time.Since(begin), 4*time.Second)
}

func TestAMissingProgramIsAFailure(t *testing.T) {
	spec := shell("svc", "", nil)
	spec.Command = func() *exec.Cmd { return exec.Command("/nonexistent/program") }
	s, r := build(quick, spec)
	s.Start()
	defer s.Stop(t.Context())
	require.Contains(t, r.await(t, "svc failed 0").Detail, "no such file")
}

func TestNotReadyInTimeSaysWhatTheProbeMet(t *testing.T) {
	spec := shell("svc", "exec sleep 60", func(context.Context) error { return errors.New("refused to answer") })
	spec.ReadyTimeout = 30 * time.Millisecond
	s, r := build(quick, spec)
	s.Start()
	defer s.Stop(t.Context())
	require.Contains(t, r.await(t, "svc failed 0").Detail, "not ready after 30ms: refused to answer")
	r.await(t, "svc starting 1")
}

func TestStopDuringStartAndOfAServiceThatWaits(t *testing.T) {
	lower := shell("lower", "exec sleep 60", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	upper := shell("upper", "exit 1", nil)
	upper.After = []string{"lower"}
	s, r := build(quick, lower, upper)
	s.Start()
	r.await(t, "upper starting 0")
	begin := time.Now()
	s.Stop(t.Context())
	require.Less(t, time.Since(begin), 3*time.Second)
	require.False(t, strings.Contains(strings.Join(r.history(), ","), "failed"))
}

func TestAProcessThatIgnoresSIGTERMIsKilledAtTheDeadline(t *testing.T) {
	up := filepath.Join(t.TempDir(), "up")
	s, r := build(quick, shell("svc", "trap '' TERM; touch "+up+"; while :; do sleep 0.02; done", exists(up)))
	s.Start()
	r.await(t, "svc ready 0")
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	begin := time.Now()
	s.Stop(ctx)
	require.GreaterOrEqual(t, time.Since(begin), 100*time.Millisecond)
	require.Less(t, time.Since(begin), 4*time.Second)
}

func TestStopBeforeStart(t *testing.T) {
	s, _ := build(quick, shell("svc", "exit 1", nil))
	s.Stop(t.Context())
}
