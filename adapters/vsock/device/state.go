//go:build linux

package device

import (
	"context"
	"errors"
	"fmt"
	"time"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/domain"
)

// errBusy is a device with maxStreams streams.
var errBusy = fmt.Errorf("all %d streams of the vsock device are in use: %w", maxStreams, domain.ErrUnavailable)

// refreshState looks whether the driver is up. Only the control goroutine
// calls it, without a lock.
func (m *mux) refreshState() {
	for !m.setState(m.lookAtQueues()) {
	}
}

func (m *mux) lookAtQueues() (up bool, faults int) {
	m.mu.Lock()
	faults = m.faults
	m.mu.Unlock()
	up = true
	for _, q := range []*vhostuser.Queue{m.rx, m.tx} {
		q.Lock()
		up = up && q.Live()
		q.Unlock()
	}
	return up, faults
}

// setState is false when a queue broke while they were looked at.
func (m *mux) setState(up bool, faults int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if faults != m.faults {
		return false
	}
	if up {
		m.fault = nil
	}
	m.setUp(up)
	return true
}

// driverFailed notes that the driver broke a queue. It may be called with the
// mutex of a queue held.
func (m *mux) driverFailed(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults++
	m.fault = err
	m.setUp(false)
}

// setUp tells those who wait for the driver. Called with mu held.
func (m *mux) setUp(up bool) {
	switch {
	case up && !m.upNow:
		close(m.up)
	case !up && m.upNow:
		m.up = make(chan struct{})
	}
	m.upNow = up
}

// shutDown ends the device for good: streams fail, and Dial returns err.
func (m *mux) shutDown(err error) {
	m.mu.Lock()
	if m.closed == nil {
		m.closed = err
		close(m.end)
	}
	m.mu.Unlock()
	m.reset(err.Error())
}

// open makes a stream and sends its request once the driver is up.
func (m *mux) open(ctx context.Context, port uint32) (*Stream, error) {
	for {
		m.mu.Lock()
		up, closed, fault := m.up, m.closed, m.fault
		m.mu.Unlock()
		if closed != nil {
			return nil, closed
		}
		select {
		case <-m.end:
			continue
		case <-up:
		case <-ctx.Done():
			err := waitError(ctx, "the guest's vsock driver to come up")
			if fault != nil {
				err = fmt.Errorf("%w (%w)", err, fault)
			}
			return nil, err
		}
		s, err := m.register(port)
		if err != nil {
			return nil, err
		}
		m.post(s, wantRequest, 0)
		return s, nil
	}
}

func (m *mux) register(port uint32) (*Stream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed != nil {
		return nil, m.closed
	}
	if len(m.streams) >= maxStreams {
		return nil, errBusy
	}
	for {
		k := streamKey{host: m.nextPort, guest: port}
		if m.nextPort++; m.nextPort >= lastPort {
			m.nextPort = firstPort
		}
		if m.streams[k] == nil {
			s := newStream(m, k)
			m.streams[k] = s
			return s, nil
		}
	}
}

// waitError is the error of a wait that its context ended.
func waitError(ctx context.Context, what string) error {
	kind := domain.ErrCanceled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = domain.ErrTimeout
	}
	return fmt.Errorf("waiting for %s: %w: %w", what, kind, context.Cause(ctx))
}

// lingering is a closed stream whose close the guest has yet to confirm.
type lingering struct {
	stream *Stream
	until  time.Time
}

// lingerFor gives the guest time to confirm the close of s.
func (m *mux) lingerFor(s *Stream) {
	m.mu.Lock()
	m.linger = append(m.linger, lingering{s, time.Now().Add(lingerTime)})
	first := len(m.linger) == 1
	m.mu.Unlock()
	if first {
		poke(m.lingerWake)
	}
}

// reap resets lingering streams whose time is over, until the device ends. All
// of them linger equally long, so the first in the list is the first to go.
func (m *mux) reap() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-m.end:
			return
		case <-m.lingerWake:
		case <-timer.C:
		}
		over, next := m.expired(time.Now())
		for _, s := range over {
			m.drop(s)
			m.post(s, wantRst, 0)
		}
		if next > 0 {
			timer.Reset(next)
		}
	}
}

// expired takes the streams out of the list that have lingered long enough,
// and says when to look again; 0 is never.
func (m *mux) expired(now time.Time) (over []*Stream, next time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.linger) > 0 {
		l := m.linger[0]
		// A stream that is not in the table has been confirmed.
		live := m.streams[l.stream.key] == l.stream
		if live && now.Before(l.until) {
			return over, l.until.Sub(now)
		}
		if live {
			over = append(over, l.stream)
		}
		m.linger[0] = lingering{}
		m.linger = m.linger[1:]
	}
	m.linger = nil
	return over, 0
}
