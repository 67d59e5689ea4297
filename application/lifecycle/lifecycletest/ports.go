package lifecycletest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/golang/mock/gomock"

	"arcbox/application/port"
	"arcbox/application/port/mock"
	"arcbox/domain"
)

// hostPorts are the ports of the host: which other programs have, and which are
// open through links.
type hostPorts struct {
	mu    sync.Mutex
	busy  map[netip.AddrPort]bool
	open  map[*hostPort]bool
	opens int
}

type hostPort struct {
	rule domain.ForwardRule
	link *linkPorts
}

// linkPorts is one link's part of them.
type linkPorts struct {
	rig    *Rig
	closed bool           // under hostPorts.mu
	behind []netip.Prefix // under Rig.mu
}

// Occupy gives a port of the host to another program, or takes it back.
func (r *Rig) Occupy(addr netip.AddrPort, busy bool) {
	r.host.mu.Lock()
	defer r.host.mu.Unlock()
	r.host.busy[addr] = busy
}

// Listening returns the rules whose ports are open, sorted by address.
func (r *Rig) Listening() []domain.ForwardRule {
	r.host.mu.Lock()
	defer r.host.mu.Unlock()
	var rules []domain.ForwardRule
	for p := range r.host.open {
		rules = append(rules, p.rule)
	}
	_, sorted := domain.DiffForwards(nil, rules)
	return sorted
}

// Opens counts the attempts to open a port.
func (r *Rig) Opens() int { r.host.mu.Lock(); defer r.host.mu.Unlock(); return r.host.opens }

// Behind returns what the newest guest's link was last told to lie behind it.
func (r *Rig) Behind() []netip.Prefix {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link == nil {
		return nil
	}
	return slices.Clone(r.link.behind)
}

// bind opens a port as an operating system does: not one that overlaps with one
// that is open.
func (l *linkPorts) bind(rule domain.ForwardRule) (port.Forward, error) {
	h := &l.rig.host
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opens++
	if l.closed {
		return nil, fmt.Errorf("bind %s: the link is closed: %w", rule, domain.ErrUnavailable)
	}
	if h.busy[rule.Host] {
		return nil, fmt.Errorf("port %s/%s is in use by nginx (process 4711): %w", rule.Host, rule.Protocol, domain.ErrConflict)
	}
	for p := range h.open {
		if p.rule.Host.Port() == rule.Host.Port() && p.rule.Overlaps(rule) {
			return nil, fmt.Errorf("port %s/%s is in use by arcbox: %w", rule.Host, rule.Protocol, domain.ErrConflict)
		}
	}
	p := &hostPort{rule: rule, link: l}
	h.open[p] = true
	f := mock.NewMockForward(l.rig.control)
	f.EXPECT().Stats().AnyTimes().Return(domain.ForwardStats{Total: 1})
	f.EXPECT().Close().AnyTimes().DoAndReturn(func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.open, p)
		return nil
	})
	return f, nil
}

func (l *linkPorts) close() {
	h := &l.rig.host
	h.mu.Lock()
	defer h.mu.Unlock()
	l.closed = true
	for p := range h.open {
		if p.link == l {
			delete(h.open, p)
		}
	}
}

// link has the capabilities of forwards and routes beside a link's methods.
type link struct {
	*mock.MockNetworkLink
	*mock.MockForwarder
	*mock.MockSurroundings
}

// EXPECT belongs to all three mocks; nobody expects anything through a link.
func (link) EXPECT() {}

func (r *Rig) newLink() port.NetworkLink {
	ports := &linkPorts{rig: r}
	r.mu.Lock()
	r.link = ports
	r.mu.Unlock()
	l := mock.NewMockNetworkLink(r.control)
	l.EXPECT().MAC().AnyTimes().Return([6]byte{2, 0, 0, 0, 0, 1})
	l.EXPECT().MTU().AnyTimes().Return(1500)
	l.EXPECT().Close().AnyTimes().DoAndReturn(func() error { ports.close(); r.count("a link", -1); return r.CloseLink() })
	f := mock.NewMockForwarder(r.control)
	f.EXPECT().Forward(gomock.Any(), gomock.Any()).AnyTimes().DoAndReturn(
		func(ctx context.Context, rule domain.ForwardRule) (port.Forward, error) {
			if err := r.Forward(ctx, rule); err != nil {
				return nil, err
			}
			return ports.bind(rule)
		})
	s := mock.NewMockSurroundings(r.control)
	s.EXPECT().SetBehind(gomock.Any()).AnyTimes().DoAndReturn(func(p []netip.Prefix) error {
		if err := r.SetBehind(p); err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		ports.behind = slices.Clone(p)
		return nil
	})
	return link{l, f, s}
}

// session has the capabilities of forwards and touches beside a session's
// methods.
type session struct {
	*mock.MockAgentSession
	*mock.MockForwardSource
	*mock.MockToucher
}

// EXPECT belongs to both mocks; nobody expects anything through a session.
func (session) EXPECT() {}

// Handler is who answers the guest's requests for ports; nil before anybody
// does, and after.
func (g *Guest) Handler() port.ForwardHandler { g.mu.Lock(); defer g.mu.Unlock(); return g.handler }

// requests serves h until ctx ends or the session is over.
func (g *Guest) requests(ctx context.Context, h port.ForwardHandler) error {
	g.handle(h)
	defer g.handle(nil)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-g.lost:
	case <-g.closed:
	}
	return domain.ErrAgentLost
}

func (g *Guest) handle(h port.ForwardHandler) { g.mu.Lock(); defer g.mu.Unlock(); g.handler = h }

func (g *Guest) hangUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.closed:
	default:
		close(g.closed)
	}
}
