// Package supervisor keeps processes running: it starts them in order, tells
// when they are ready, restarts them with growing pauses when they end, and
// stops them in the opposite order.
package supervisor

import (
	"context"
	"io"
	"log/slog"
	"os/exec"
	"sync"
	"time"

	"arcbox/domain"
)

// Spec is one process that is to run always.
type Spec struct {
	Name string
	// Command makes the command of one start. Its output, process group and
	// grace for pipes are set by the supervisor.
	Command func() *exec.Cmd
	// Ready makes one attempt to find out whether the process serves; nil when
	// it does. Its context ends with the process.
	Ready func(context.Context) error
	// ReadyTimeout is how long a start may take before it counts as failed.
	ReadyTimeout time.Duration
	// StopTimeout is how long the process may take to end after SIGTERM before
	// it is killed.
	StopTimeout time.Duration
	// After names services, earlier in the list, that must have been ready once
	// before this one is started.
	After []string
	// Hold, if not nil, is waited for before the first start.
	Hold *Hold
}

// Hold is something that is not a service.
type Hold struct {
	// Over is closed when it is there.
	Over <-chan struct{}
	What string // "the host's configuration"
	// Patience is after how long the log warns that it is not there yet.
	Patience time.Duration
}

// Starter starts a command; the returned function is called once, and waits
// for its end.
type Starter interface {
	Start(*exec.Cmd) (wait func() error, err error)
}

// Output takes what one run of a process prints.
type Output interface {
	io.Writer
	// Flush is called when the run has ended.
	Flush()
}

// Deps is what the supervisor needs from its surroundings.
type Deps struct {
	Starter Starter
	// Report is told every change of state, by several goroutines.
	Report func(domain.ServiceStatus)
	// Output opens the log of a service for one run; Tail returns its last lines.
	Output func(name string) Output
	Tail   func(name string, lines int) []string
	Log    *slog.Logger
}

// Pause is how long the supervisor waits before a restart.
type Pause struct {
	First, Last time.Duration // doubles from First to Last
	// Healthy is how long a process must have been ready for the pause to
	// begin at First again.
	Healthy time.Duration
}

// DefaultPause returns a pause that starts short, because most crashes are single ones.
func DefaultPause() Pause {
	return Pause{First: 100 * time.Millisecond, Last: 10 * time.Second, Healthy: time.Minute}
}

// Supervisor runs a list of services. Start it once, then stop it once.
type Supervisor struct {
	services []*service
	running  sync.WaitGroup
}

// New returns a supervisor of specs, in the order in which they start.
func New(specs []Spec, pause Pause, deps Deps) *Supervisor {
	s := &Supervisor{}
	byName := map[string]*service{}
	for _, spec := range specs {
		svc := &service{spec: spec, pause: pause, deps: deps, wasReady: make(chan struct{}), done: make(chan struct{}), stop: make(chan struct{})}
		for _, name := range spec.After {
			svc.after = append(svc.after, byName[name])
		}
		byName[spec.Name] = svc
		s.services = append(s.services, svc)
	}
	return s
}

// Start starts the services and returns at once.
func (s *Supervisor) Start() {
	for _, svc := range s.services {
		svc.started = true
		s.running.Go(svc.run)
	}
}

// reserve is what an earlier service keeps of the time for stopping when a
// later one uses up the rest.
const reserve = time.Second

// Stop stops the services, the last one first, and waits until all have ended.
// When ctx has a deadline, a process that outlives its share of it is killed.
// Services may be in any state, also never started; Start and Stop are not
// called at the same time.
func (s *Supervisor) Stop(ctx context.Context) {
	for i := len(s.services) - 1; i >= 0; i-- {
		svc := s.services[i]
		kill := time.Now().Add(svc.spec.StopTimeout)
		if end, ok := ctx.Deadline(); ok {
			if latest := end.Add(-time.Duration(i) * reserve); latest.Before(kill) {
				kill = latest
			}
		}
		svc.requestStop(kill)
		if svc.started {
			<-svc.done // what it depends on must not go before it
		}
	}
	s.running.Wait()
}
