package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"arcbox/domain"
)

// probeInterval is the pause between two attempts of Ready: short, because a
// user waits for it, and a connection to a local socket costs little.
const probeInterval = 20 * time.Millisecond

// probeTimeout bounds one attempt; a slow emulated machine may need seconds.
const probeTimeout = 10 * time.Second

// The detail of a failure has this many lines of the log, and bytes at most.
const (
	tailLines = 8
	maxDetail = 2 << 10
)

type service struct {
	spec  Spec
	pause Pause
	deps  Deps
	after []*service

	readyOnce sync.Once
	wasReady  chan struct{}
	done      chan struct{}
	stopOnce  sync.Once
	stop      chan struct{} // closed when the service is to end

	started bool // set by Supervisor.Start, before the goroutine begins

	mu      sync.Mutex
	killAt  time.Time
	current *exec.Cmd
}

func (s *service) requestStop(killAt time.Time) {
	s.stopOnce.Do(func() {
		s.mu.Lock()
		s.killAt = killAt
		s.mu.Unlock()
		close(s.stop)
	})
}

func (s *service) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		_ = s.current.Process.Signal(sig) // it may just have ended
	}
}

func (s *service) report(state domain.ServiceState, detail string, restarts int) {
	s.deps.Report(domain.ServiceStatus{Name: s.spec.Name, State: state, Detail: detail, Restarts: restarts})
}

func (s *service) run() {
	defer close(s.done)
	restarts := 0
	defer func() { s.report(domain.ServiceStopped, "", restarts) }()
	if !s.awaitOthers() {
		return
	}
	pause := s.pause.First
	for ; ; restarts++ {
		s.report(domain.ServiceStarting, "", restarts)
		healthy, err := s.once(restarts)
		select {
		case <-s.stop:
			return
		default:
		}
		s.deps.Log.Warn("service ended", "service", s.spec.Name, "error", err, "restarts", restarts)
		s.report(domain.ServiceFailed, s.detail(err), restarts)
		if healthy >= s.pause.Healthy {
			pause = s.pause.First
		}
		select {
		case <-s.stop:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, s.pause.Last)
	}
}

func (s *service) awaitOthers() bool {
	for _, other := range s.after {
		s.report(domain.ServiceStarting, "waits for "+other.spec.Name, 0)
		select {
		case <-other.wasReady:
		case <-s.stop:
			return false
		}
	}
	return s.awaitHold()
}

func (s *service) awaitHold() bool {
	h := s.spec.Hold
	if h == nil {
		return true
	}
	select {
	case <-h.Over:
		return true
	default:
	}
	s.report(domain.ServiceStarting, "waits for "+h.What, 0)
	late := time.NewTimer(h.Patience)
	defer late.Stop()
	for {
		select {
		case <-h.Over:
			return true
		case <-s.stop:
			return false
		case <-late.C:
			s.deps.Log.Warn("service not started: still waiting", "service", s.spec.Name, "for", h.What, "since", h.Patience)
		}
	}
}

// once runs the process one time. It returns how long it was ready, and why
// it ended; after a request to stop only that it ended.
func (s *service) once(restarts int) (healthy time.Duration, err error) {
	cmd := s.spec.Command()
	out := s.deps.Output(s.spec.Name)
	defer out.Flush()
	cmd.Stdout, cmd.Stderr = out, out
	// Grandchildren may keep the pipe; the process is what counts.
	cmd.WaitDelay = time.Second
	// A group of its own, so that signals to the agent's group pass it by.
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	wait, err := s.deps.Starter.Start(cmd)
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", s.spec.Name, err)
	}
	s.setCurrent(cmd)
	exited := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var owned sync.WaitGroup
	defer owned.Wait()
	defer cancel()
	owned.Go(func() {
		err := wait()
		s.setCurrent(nil)
		exited <- err
	})
	ready := make(chan struct{})
	lastProbe := make(chan error, 1)
	owned.Go(func() { lastProbe <- s.probe(ctx, ready) })

	limit := time.NewTimer(s.spec.ReadyTimeout)
	defer limit.Stop()
	var since time.Time
	for {
		select {
		case <-ready:
			ready = nil
			limit.Stop()
			since = time.Now()
			s.report(domain.ServiceReady, "", restarts)
			s.readyOnce.Do(func() { close(s.wasReady) })
		case err := <-exited:
			if !since.IsZero() {
				healthy = time.Since(since)
			}
			return healthy, fmt.Errorf("%s ended: %w", s.spec.Name, exitError(err))
		case <-limit.C:
			cancel()
			s.end(exited, time.Now().Add(s.spec.StopTimeout))
			return 0, fmt.Errorf("%s was not ready after %s: %w", s.spec.Name, s.spec.ReadyTimeout, <-lastProbe)
		case <-s.stop:
			s.mu.Lock()
			killAt := s.killAt
			s.mu.Unlock()
			s.end(exited, killAt)
			return 0, nil
		}
	}
}

func (s *service) setCurrent(cmd *exec.Cmd) {
	s.mu.Lock()
	s.current = cmd
	s.mu.Unlock()
}

// end stops the process, first politely.
func (s *service) end(exited <-chan error, killAt time.Time) {
	s.signal(syscall.SIGTERM)
	select {
	case <-exited: //nolint:errcheck // how it ended was not asked
		return
	case <-time.After(time.Until(killAt)):
	}
	s.deps.Log.Warn("service killed: it did not end in time", "service", s.spec.Name)
	s.signal(syscall.SIGKILL)
	<-exited //nolint:errcheck // as above
}

// probe closes ready when an attempt succeeds; it returns the last error when
// ctx ends before.
func (s *service) probe(ctx context.Context, ready chan<- struct{}) error {
	last := errors.New("not asked yet")
	for {
		attempt, cancel := context.WithTimeout(ctx, probeTimeout)
		err := s.spec.Ready(attempt)
		cancel()
		if ctx.Err() != nil {
			return last
		}
		if err == nil {
			close(ready)
			return nil
		}
		last = err
		select {
		case <-ctx.Done():
			return last
		case <-time.After(probeInterval):
		}
	}
}

// exitError is err with a text for the end that no process of this kind should
// have by itself.
func exitError(err error) error {
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return errors.New("exit status 0")
	}
	return err
}

func (s *service) detail(err error) string {
	d := err.Error()
	if lines := s.deps.Tail(s.spec.Name, tailLines); len(lines) > 0 {
		tail := strings.Join(lines, "\n")
		if len(tail) > maxDetail {
			tail = tail[len(tail)-maxDetail:]
		}
		d += "; its log ends with:\n" + tail
	}
	return strings.ToValidUTF8(d, "?")
}
