package lifecycletest

import (
	"context"
	"sync"
	"time"

	"github.com/golang/mock/gomock"

	"arcbox/application/port"
	"arcbox/application/port/mock"
	"arcbox/domain"
)

// Guest is one run of a machine on a Rig.
type Guest struct {
	Plan   domain.VMPlan
	Shared bool // it was started with a wire to shares

	rig     *Rig
	mu      sync.Mutex
	down    chan struct{}
	err     error
	lost    chan struct{}
	status  domain.GuestStatus
	changed chan struct{}
	handler port.ForwardHandler
	closed  chan struct{} // the session was closed
	paused  string
	pausing chan struct{}
}

func newGuest(r *Rig, plan domain.VMPlan) *Guest {
	return &Guest{Plan: plan, rig: r, down: make(chan struct{}), lost: make(chan struct{}), changed: make(chan struct{}), closed: make(chan struct{}), pausing: make(chan struct{})}
}

// Exit takes the machine down as if for err; only the first call counts.
func (g *Guest) Exit(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.down:
	default:
		g.err = err
		close(g.down)
		g.rig.count("a machine", -1)
	}
}

// LoseAgent makes the agent silent.
func (g *Guest) LoseAgent() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.lost:
	default:
		close(g.lost)
	}
}

// Push is a status that the agent pushes.
func (g *Guest) Push(s domain.GuestStatus) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status = s
	close(g.changed)
	g.changed = make(chan struct{})
}

// Pause makes the machine stand still, "" lets it go on.
func (g *Guest) Pause(why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paused = why
	close(g.pausing)
	g.pausing = make(chan struct{})
}

// vm has the capabilities of a balloon and of pauses beside a machine's methods.
type vm struct {
	*mock.MockVM
	*mock.MockBalloon
	guest *Guest
}

// Paused implements port.Pausing.
func (v vm) Paused() (string, <-chan struct{}) {
	v.guest.mu.Lock()
	defer v.guest.mu.Unlock()
	return v.guest.paused, v.guest.pausing
}

// EXPECT belongs to both mocks; nobody expects anything through a vm.
func (vm) EXPECT() {}

func (g *Guest) machine() port.VM {
	m := mock.NewMockVM(g.rig.control)
	m.EXPECT().Info().AnyTimes().Return(g.rig.Info)
	m.EXPECT().Done().AnyTimes().Return((<-chan struct{})(g.down))
	m.EXPECT().Err().AnyTimes().DoAndReturn(func() error { g.mu.Lock(); defer g.mu.Unlock(); return g.err })
	m.EXPECT().Kill(gomock.Any()).AnyTimes().DoAndReturn(func(ctx context.Context) error { return g.rig.Kill(ctx, g) })
	m.EXPECT().Dial(gomock.Any(), gomock.Any()).AnyTimes().Return(nil, domain.ErrNotRunning)
	b := mock.NewMockBalloon(g.rig.control)
	b.EXPECT().SetMemory(gomock.Any(), gomock.Any()).AnyTimes().DoAndReturn(func(_ context.Context, mem domain.MiB) error {
		g.rig.mu.Lock()
		defer g.rig.mu.Unlock()
		g.rig.memory = append(g.rig.memory, mem)
		return nil
	})
	return vm{m, b, g}
}

func (g *Guest) session() port.AgentSession {
	m := mock.NewMockAgentSession(g.rig.control)
	m.EXPECT().Hello().AnyTimes().Return(domain.AgentHello{Protocol: domain.AgentProtocol})
	m.EXPECT().Status().AnyTimes().DoAndReturn(func() (domain.GuestStatus, <-chan struct{}) {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.status, g.changed
	})
	m.EXPECT().Done().AnyTimes().Return((<-chan struct{})(g.lost))
	m.EXPECT().Err().AnyTimes().Return(domain.ErrAgentLost)
	m.EXPECT().Configure(gomock.Any(), gomock.Any()).AnyTimes().DoAndReturn(
		func(ctx context.Context, c domain.GuestConfig) error { return g.rig.Configure(ctx, g, c) })
	m.EXPECT().Shutdown(gomock.Any(), gomock.Any()).AnyTimes().DoAndReturn(
		func(ctx context.Context, _ time.Duration) error { return g.rig.Shutdown(ctx, g) })
	m.EXPECT().Close().AnyTimes().DoAndReturn(func() error { g.hangUp(); g.rig.count("a session", -1); return nil })
	f := mock.NewMockForwardSource(g.rig.control)
	f.EXPECT().Forwards(gomock.Any(), gomock.Any()).MaxTimes(1).DoAndReturn(g.requests)
	t := mock.NewMockToucher(g.rig.control)
	t.EXPECT().Touch(gomock.Any(), gomock.Any()).AnyTimes().DoAndReturn(
		func(ctx context.Context, changes []domain.PathChange) error { return g.rig.Touch(ctx, g, changes) })
	return session{m, f, t}
}
