package netfwd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/application/port"
	"arcbox/domain"
)

// forwardLimits bound one forward.
type forwardLimits struct {
	tcpFlows, udpSessions int
	// dial is how long a container may take to accept a connection.
	dial time.Duration
	// young is how long a container that has not taken a connection yet counts as
	// one that is starting, and patience how long its refusals are waited out.
	young, patience time.Duration
	// udpIdle ends a session in which nothing moved; udpIdleDNS is the one for
	// containers' port 53, where each query is a session of its own.
	udpIdle, udpIdleDNS time.Duration
}

// defaultForwardLimits are those of every forward. A connection beyond them is
// reset at once, and of a session beyond them the datagrams are dropped, unless
// one that is quiet can make room.
func defaultForwardLimits() forwardLimits {
	return forwardLimits{
		tcpFlows:    4096,
		udpSessions: 1024,
		dial:        10 * time.Second,
		young:       10 * time.Second,
		patience:    3 * time.Second,
		udpIdle:     60 * time.Second,
		udpIdleDNS:  10 * time.Second,
	}
}

// forwards are the open forwards of one link. The zero value has none.
type forwards struct {
	mu      sync.Mutex
	closed  bool
	open    map[*forward]struct{}
	limits  forwardLimits // zero: the defaults
	buffers sync.Pool     // of *[]byte, each for one datagram
}

// forward is one open port of the host.
type forward struct {
	owner  *forwards
	net    *usernet.Network
	rule   domain.ForwardRule
	limits forwardLimits

	life   context.Context // of its flows, ended by Close
	cancel context.CancelFunc
	// unbind closes the socket that listens.
	unbind  func()
	running sync.WaitGroup
	closing sync.Once

	opened time.Time
	// answered says that the container took a connection once.
	answered atomic.Bool

	flows                  atomic.Int64
	total, limited, failed atomic.Uint64
	moved                  usernet.Moved
}

var (
	_ port.Forwarder    = (*Link)(nil)
	_ port.Surroundings = (*Link)(nil)
)

// Forward implements port.Forwarder.
func (l *Link) Forward(ctx context.Context, rule domain.ForwardRule) (port.Forward, error) {
	rule.Host = netip.AddrPortFrom(rule.Host.Addr().Unmap(), rule.Host.Port())
	rule.Target = netip.AddrPortFrom(rule.Target.Addr().Unmap(), rule.Target.Port())
	if err := checkForwardRule(rule); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("listen on %s/%s: %w", rule.Host, rule.Protocol, err)
	}
	f, err := l.forwards.bind(ctx, l.net, rule)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, domain.ErrConflict) || errors.Is(err, domain.ErrUnavailable) {
		return nil, err
	}
	holder := ""
	if errors.Is(err, syscall.EADDRINUSE) {
		holder = findHolder(ctx, rule.Protocol, rule.Host)
	}
	return nil, explainBind(rule, err, holder)
}

func checkForwardRule(r domain.ForwardRule) error {
	bad := func(why string) error {
		return fmt.Errorf("forward %s: %s: %w", r, why, domain.ErrInvalid)
	}
	switch {
	case r.Protocol != domain.TCP && r.Protocol != domain.UDP:
		return bad("only tcp and udp can be forwarded")
	case !r.Host.IsValid() || r.Host.Port() == 0 || r.Host.Addr().IsMulticast():
		return bad("the host's side is no address to listen on")
	case !r.Target.IsValid() || r.Target.Port() == 0 || r.Target.Addr().IsUnspecified():
		return bad("the target is no address of a container")
	}
	return nil
}

// bind opens rule. The lock is held throughout, so that closing the link finds
// every socket; binding does not wait for anything.
func (fs *forwards) bind(ctx context.Context, n *usernet.Network, rule domain.ForwardRule) (*forward, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.closed {
		return nil, &forwardError{domain.ErrUnavailable, fmt.Sprintf("%s/%s: the machine's network is closed", rule.Host, rule.Protocol)}
	}
	// The kernel says so too, but not whose it is; and macOS lets one socket
	// take a part of another one's address.
	for o := range fs.open {
		if rule.Overlaps(o.rule) {
			return nil, domain.ForwardHeld(rule, o.rule, "")
		}
	}
	f := &forward{owner: fs, net: n, rule: rule, limits: fs.limits, opened: time.Now()}
	if f.limits == (forwardLimits{}) {
		f.limits = defaultForwardLimits()
	}
	f.life, f.cancel = context.WithCancel(context.Background())
	at := planBind(runtime.GOOS, os.Geteuid(), rule.Host)
	listen := f.listenTCP
	if rule.Protocol == domain.UDP {
		listen = f.listenUDP
	}
	if err := listen(ctx, at); err != nil {
		f.cancel()
		return nil, err
	}
	if fs.open == nil {
		fs.open = make(map[*forward]struct{})
	}
	fs.open[f] = struct{}{}
	return f, nil
}

// close closes all forwards for good.
func (fs *forwards) close() {
	fs.mu.Lock()
	fs.closed = true
	open := make([]*forward, 0, len(fs.open))
	for f := range fs.open {
		open = append(open, f)
	}
	fs.mu.Unlock()
	for _, f := range open { // all of them begin to end before the first one is waited for
		f.unbind()
		f.cancel()
	}
	for _, f := range open {
		_ = f.Close()
	}
}

// Close implements port.Forward.
func (f *forward) Close() error {
	f.closing.Do(func() {
		f.unbind()
		f.owner.mu.Lock()
		delete(f.owner.open, f)
		f.owner.mu.Unlock()
		f.cancel()
		f.running.Wait()
	})
	return nil
}

// Stats implements port.Forward.
func (f *forward) Stats() domain.ForwardStats {
	return domain.ForwardStats{
		Flows:   uint64(max(0, f.flows.Load())),
		Total:   f.total.Load(),
		Limited: f.limited.Load(),
		Failed:  f.failed.Load(),
		In:      f.moved.ToGuest.Load(),
		Out:     f.moved.FromGuest.Load(),
	}
}

// admit takes a place among limit flows; without one left it counts that.
func (f *forward) admit(limit int) bool {
	if f.flows.Add(1) > int64(limit) {
		f.flows.Add(-1)
		f.limited.Add(1)
		return false
	}
	f.total.Add(1)
	return true
}

// pause waits d, or until the forward is closed: then it returns false.
func (f *forward) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-f.life.Done():
		return false
	}
}
