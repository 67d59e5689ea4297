package kvm

import (
	"context"
	"fmt"
	"sync"
	"time"

	"arcbox/adapters/kvm/qmp"
	"arcbox/domain"
)

const (
	// drainLimit bounds the wait for the last events of a QEMU that is gone; they
	// are in the socket by then.
	drainLimit = time.Second
	// storageRetry is how long a machine rests that QEMU paused because the host could
	// not store what the guest wrote, before it is let on again.
	storageRetry = 5 * time.Second
	// settleTime is how long a machine that was let on must run to count as running:
	// a write that fails again pauses it within milliseconds.
	settleTime = 2 * time.Second
	// leaveLimit is how long QEMU may take to exit after it said that it shuts down.
	// It flushes disks then, and waits for vhost-user devices, one of which
	// may be silent.
	leaveLimit = 10 * time.Second
)

// supervisor watches one machine until it is down. One goroutine runs it; its
// fields are that goroutine's.
type supervisor struct {
	m        *machine
	helpers  sync.WaitGroup
	states   chan string // answers of query-status
	shutdown string
	killed   bool
	failure  error
	retry    <-chan time.Time
	settled  <-chan time.Time // after a retry
	trouble  []byte           // data of the newest BLOCK_IO_ERROR
	overdue  <-chan time.Time // after SHUTDOWN
	stuck    bool             // in its exit, and killed for that
}

// supervise owns everything of the machine; it returns when all of it is gone.
func (m *machine) supervise() {
	s := &supervisor{m: m, states: make(chan string, 1)}
	s.watch()
	s.drain()
	m.qemu.monitor.Close()
	s.helpers.Wait()
	if m.console != nil {
		m.console.close()
	}
	if m.device != nil {
		if err := m.device.Close(); err != nil {
			m.log.Warn("closing the vsock device", "error", err)
		}
	}
	m.err = s.ending().reason()
	m.log.Info("machine is down", "status", m.qemu.status(), "cause", s.shutdown, "error", m.err)
	close(m.done)
}

func (s *supervisor) watch() {
	kill, events := s.m.kill, s.m.qemu.monitor.Events()
	for {
		select {
		case <-s.m.qemu.exited:
			return
		case <-kill:
			kill, s.killed = nil, true
			s.helpers.Go(s.m.takeDown)
		case e, ok := <-events:
			if !ok { // the monitor is gone: so is QEMU, or it is of no more use
				events = nil
				s.helpers.Go(s.m.endWithoutMonitor)
				continue
			}
			s.event(e)
		case state := <-s.states:
			s.paused(state)
		case <-s.overdue:
			s.overdue, s.stuck = nil, true
			s.m.log.Warn("QEMU does not exit after its shutdown, killing it", "after", s.m.leave)
			s.m.qemu.kill()
		case <-s.retry:
			s.retry, s.settled = nil, time.After(s.m.settle)
			s.helpers.Go(s.resume)
		case <-s.settled:
			s.settled = nil
			if s.m.pause.set("") {
				s.m.log.Info("the machine goes on")
			}
		}
	}
}

// event takes note of what QEMU reports.
func (s *supervisor) event(e qmp.Event) {
	switch e.Name {
	case "SHUTDOWN":
		s.shutdown = shutdownCause(e.Data)
		s.overdue = time.After(s.m.leave)
	case "GUEST_PANICKED":
		s.fail(fmt.Errorf("the guest's kernel panicked: %w", domain.ErrUnavailable))
	case "STOP":
		s.settled = nil
		s.helpers.Go(s.ask)
	case "BLOCK_IO_ERROR":
		s.trouble = bounded(e.Data)
		if s.retry == nil && s.settled == nil { // else it is paused for what was told
			s.m.log.Error("host trouble with a machine", "event", e.Name, "data", string(s.trouble))
		}
	case "MEMORY_FAILURE":
		s.m.log.Error("host trouble with a machine", "event", e.Name, "data", string(bounded(e.Data)))
	default:
		s.m.log.Debug("monitor event", "event", e.Name, "data", string(bounded(e.Data)))
	}
}

// bounded cuts what is only there to be read in a log.
func bounded(data []byte) []byte { return data[:min(len(data), 512)] }

// ask finds out why the machine stopped. A failure to is no news: then QEMU is gone.
func (s *supervisor) ask() {
	var r struct {
		Status string `json:"status"`
	}
	if err := s.m.qemu.monitor.Execute(context.Background(), "query-status", nil, &r); err != nil {
		return
	}
	select {
	case s.states <- r.Status:
	case <-s.m.qemu.exited:
	}
}

// paused acts on a machine that QEMU stopped by itself (RunState in QEMU's
// qapi/run-state.json).
func (s *supervisor) paused(state string) {
	switch state {
	case "internal-error":
		s.fail(fmt.Errorf("the hypervisor could not go on with the guest (internal error)%s: %w",
			quoteStderr(s.m.qemu.output.String()), domain.ErrUnavailable))
	case "guest-panicked":
		s.fail(fmt.Errorf("the guest's kernel panicked: %w", domain.ErrUnavailable))
	case "io-error":
		if s.m.pause.set(storageTrouble(s.trouble)) {
			s.m.log.Error("a disk image could not be written, the machine is paused", "retry", s.m.rest)
		}
		s.retry = time.After(s.m.rest)
	}
}

// resume lets the guest repeat the write that failed. When it fails again,
// another STOP comes.
func (s *supervisor) resume() {
	if err := s.m.qemu.monitor.Execute(context.Background(), "cont", nil, nil); err != nil {
		s.m.log.Warn("resuming after a failed write", "error", err)
	}
}

func (s *supervisor) fail(err error) {
	if s.failure == nil {
		s.failure = err
		s.helpers.Go(s.m.takeDown)
	}
}

// drain receives the events that QEMU sent before it ended.
func (s *supervisor) drain() {
	limit := time.NewTimer(drainLimit)
	defer limit.Stop()
	for {
		select {
		case e, ok := <-s.m.qemu.monitor.Events():
			if !ok {
				return
			}
			if e.Name == "SHUTDOWN" {
				s.shutdown = shutdownCause(e.Data)
			}
		case <-limit.C:
			return
		}
	}
}

func (s *supervisor) ending() ending {
	return ending{
		killed:   s.killed,
		failure:  s.failure,
		shutdown: s.shutdown,
		// A QEMU that was only kept from exiting had done its work.
		success: s.m.qemu.success() || s.stuck,
		status:  s.m.qemu.status(),
		stderr:  s.m.qemu.output.String(),
	}
}

// takeDown ends QEMU and returns when it has ended.
func (m *machine) takeDown() {
	ctx, cancel := context.WithTimeout(context.Background(), m.quit)
	defer cancel()
	begin := time.Now()
	if err := m.qemu.monitor.Execute(ctx, "quit", nil, nil); err != nil {
		m.log.Debug("asking QEMU to quit", "error", err)
	}
	if !m.qemu.waitFor(m.quit - time.Since(begin)) {
		m.log.Warn("QEMU does not quit, killing it", "after", m.quit)
		m.qemu.kill()
		<-m.qemu.exited
	}
}

// endWithoutMonitor gives QEMU the time to exit by itself: its monitor's end
// comes a moment before its own.
func (m *machine) endWithoutMonitor() {
	if !m.qemu.waitFor(exitGrace) {
		m.log.Warn("QEMU's monitor is gone and QEMU is not, killing it", "error", m.qemu.monitor.Err())
		m.qemu.kill()
		<-m.qemu.exited
	}
}
