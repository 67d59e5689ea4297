package vz

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"arcbox/domain"
)

// errStopPending says that the framework does not answer a stop.
var errStopPending = fmt.Errorf("the framework has not stopped the machine yet: %w", domain.ErrTimeout)

// ending is what is known when a machine is down.
type ending struct {
	started  error // why it did not start
	failed   bool  // the framework gave it up
	lastText string
}

// reason is what the machine's Err says: nil for a kill and for a power-off.
func (e ending) reason() error {
	switch {
	case e.started != nil:
		return fmt.Errorf("%w%s", explain("starting its processor", e.started), e.lastText)
	case e.failed:
		return fmt.Errorf("the hypervisor gave the machine up: %w%s", domain.ErrUnavailable, e.lastText)
	default:
		return nil
	}
}

// supervise starts the machine, owns it while it runs, and returns when all of it is
// gone.
func (m *machine) supervise() {
	var e ending
	// The framework answers a start or a restore in its own time; until then there
	// is nothing that could be taken down or let go.
	if e.started = m.begin(); e.started == nil {
		close(m.running)
		e.failed = m.watch()
	}
	m.mu.Lock() // no call begins from here on
	close(m.down)
	m.mu.Unlock()
	if !waitFor(&m.calls, m.stop) {
		m.log.Warn("the framework does not answer a call of a machine that is down")
	}
	m.pause.set("")
	m.guest.Release()
	m.console.close()
	if m.link != nil {
		m.link.Close()
	}
	e.lastText = m.console.quote()
	m.err = e.reason()
	m.log.Info("machine is down", "error", m.err)
	close(m.done)
}

// watch returns when the machine is down, and says whether the framework gave it up.
func (m *machine) watch() (failed bool) {
	s := stopping{m: m}
	defer s.wait()
	ran := false
	for {
		select {
		case st, ok := <-m.guest.States():
			m.pause.set(standstill(st))
			switch {
			case !ok || st == stateError:
				return true
			case st == stateRunning:
				ran = true
			case st == stateStopped && ran: // before, it is an old state
				return false
			}
		case <-m.kill:
			s.begin()
		case err := <-s.answer:
			s.end()
			if err == nil {
				return false
			}
			m.noteStop(explain("stopping the machine", err))
			m.log.Warn("stopping the machine", "error", err)
		case <-s.limit:
			s.limit = nil
			m.noteStop(errStopPending)
			m.log.Error("the framework does not stop the machine", "after", m.stop)
		}
	}
}

// stopping is an attempt to take the machine down; one at most is under way.
type stopping struct {
	m      *machine
	answer chan error       // nil when none is under way
	limit  <-chan time.Time // nil when it has passed
}

func (s *stopping) begin() {
	if s.answer != nil {
		return
	}
	answer := make(chan error, 1)
	go func() { answer <- s.m.forceStop() }() // wait waits for it
	s.answer, s.limit = answer, time.After(s.m.stop)
}

func (s *stopping) end() { s.answer, s.limit = nil, nil }

// wait lets an attempt finish that the machine's own end overtook.
func (s *stopping) wait() {
	if s.answer == nil {
		return
	}
	select {
	case <-time.After(s.m.stop):
		s.m.log.Warn("the framework does not answer the stop of a machine that is down")
	case err := <-s.answer:
		if err != nil {
			s.m.log.Debug("stopping a machine that is down already", "error", err)
		}
	}
}

// waitFor says whether g's work ended within d.
func waitFor(g *sync.WaitGroup, d time.Duration) bool {
	done := make(chan struct{})
	go func() { g.Wait(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// startError is what a caller of Start learns about a machine that went down before it ran.
func (m *machine) startError() error {
	if m.err != nil {
		return m.err
	}
	return errors.Join(domain.ErrUnavailable, errors.New("the machine went down while it started"+m.console.quote()))
}
