package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/application/port"
	"arcbox/domain"
)

func leaseMessage(id string, hostPort uint32) *agentv1.ForwardLease {
	return &agentv1.ForwardLease{
		Id: id, Protocol: agentv1.ForwardProtocol_FORWARD_PROTOCOL_TCP,
		HostIp: []byte{127, 0, 0, 1}, HostPort: hostPort, ContainerIp: []byte{172, 17, 0, 2}, ContainerPort: 80,
	}
}

func leaseOf(id string, hostPort uint16) port.ForwardLease {
	return port.ForwardLease{ID: id, Rule: domain.ForwardRule{
		Protocol: domain.TCP,
		Host:     netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), hostPort),
		Target:   netip.MustParseAddrPort("172.17.0.2:80"),
	}}
}

func snapshot(l ...*agentv1.ForwardLease) *agentv1.ForwardsResponse {
	return &agentv1.ForwardsResponse{Event: &agentv1.ForwardsResponse_Snapshot{Snapshot: &agentv1.ForwardSnapshot{Leases: l}}}
}

func bindMessage(l *agentv1.ForwardLease) *agentv1.ForwardsResponse {
	return &agentv1.ForwardsResponse{Event: &agentv1.ForwardsResponse_Bind{Bind: l}}
}

func releaseMessage(id string) *agentv1.ForwardsResponse {
	return &agentv1.ForwardsResponse{Event: &agentv1.ForwardsResponse_Release{Release: &agentv1.ForwardRelease{Id: id}}}
}

func listenersMessage(l ...*agentv1.GuestListener) *agentv1.ForwardsResponse {
	return &agentv1.ForwardsResponse{Event: &agentv1.ForwardsResponse_Listeners{Listeners: &agentv1.GuestListeners{Listeners: l}}}
}

// application records what it was told, and binds as a test wants.
type application struct {
	onBind    func(context.Context, port.ForwardLease) error
	onRelease func(string)
	told      chan any
}

type (
	resetTo   []port.ForwardLease
	bound     port.ForwardLease
	freed     string
	listening []domain.GuestListener
)

func newApplication() *application {
	return &application{
		onBind: func(context.Context, port.ForwardLease) error { return nil }, onRelease: func(string) {},
		told: make(chan any, 1024),
	}
}

func (a *application) Reset(l []port.ForwardLease) { a.told <- resetTo(l) }
func (a *application) Bind(ctx context.Context, l port.ForwardLease) error {
	a.told <- bound(l)
	return a.onBind(ctx, l)
}
func (a *application) Release(id string)                  { a.onRelease(id); a.told <- freed(id) }
func (a *application) Listeners(s []domain.GuestListener) { a.told <- listening(s) }

func (a *application) expect(t *testing.T, want ...any) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-a.told:
			require.Empty(t, cmp.Diff(w, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })))
		case <-time.After(10 * time.Second):
			t.Fatalf("not told of %#v", w)
		}
	}
}

// follow runs Forwards and returns a way to end it, and its result.
func follow(t *testing.T, s port.AgentSession, a *application) (end func(), result <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { done <- s.(port.ForwardSource).Forwards(ctx, a) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return cancel, done
}

func recv(t *testing.T, s forwardsStream) string {
	m, err := s.Recv()
	if err != nil {
		return "broken: " + err.Error()
	}
	switch e := m.Event.(type) {
	case *agentv1.ForwardsRequest_Answer:
		return strings.TrimSuffix("answer "+e.Answer.Id+" "+e.Answer.Error, " ")
	case *agentv1.ForwardsRequest_Released:
		return "released " + e.Released.Id
	}
	t.Errorf("unknown message %v", m)
	return ""
}

// script serves one stream after the other with the functions given, the last
// one for all that follow.
func script(steps ...func(forwardsStream) error) func(forwardsStream) error {
	var n atomic.Int32
	return func(s forwardsStream) error { return steps[min(int(n.Add(1)), len(steps))-1](s) }
}

func idle(s forwardsStream) error { <-s.Context().Done(); return nil }

func TestForwardsFromBindToRelease(t *testing.T) {
	g, heard := newGuest(), make(chan string, 16)
	cid := strings.Repeat("ab", 32)
	g.forwards = func(s forwardsStream) error {
		_ = s.Send(snapshot(leaseMessage("1", 8080)))
		_ = s.Send(listenersMessage(&agentv1.GuestListener{
			Container: cid, Protocol: agentv1.ForwardProtocol_FORWARD_PROTOCOL_UDP, Ip: make([]byte, 16), Port: 53, DualStack: true,
		}, &agentv1.GuestListener{Container: "../x"}))
		_ = s.Send(bindMessage(leaseMessage("2", 81)))
		heard <- recv(t, s)
		_ = s.Send(releaseMessage("2"))
		heard <- recv(t, s)
		_ = s.Send(releaseMessage("1"))
		heard <- recv(t, s)
		_ = s.Send(releaseMessage("99"))
		heard <- recv(t, s)
		_ = s.Send(bindMessage(leaseMessage("3", 82)))
		heard <- recv(t, s)
		_ = s.Send(releaseMessage("3"))
		heard <- recv(t, s)
		return idle(s)
	}
	c, _ := client()
	a := newApplication()
	a.onBind = func(_ context.Context, l port.ForwardLease) error {
		if l.ID == "3" {
			return domain.WithHint(fmt.Errorf("127.0.0.1:82 is\x1b taken: %w", domain.ErrConflict), "free it")
		}
		return nil
	}
	end, result := follow(t, connect(t, c, serve(t, g)), a)
	a.expect(t, resetTo{leaseOf("1", 8080)},
		listening{{Container: cid, Protocol: domain.UDP, Addr: netip.MustParseAddrPort("[::]:53"), DualStack: true}},
		bound(leaseOf("2", 81)), freed("2"), freed("1"), bound(leaseOf("3", 82)))
	for _, want := range []string{"answer 2", "released 2", "released 1", "released 99",
		"answer 3 127.0.0.1:82 is? taken: " + domain.ErrConflict.Error() + " (free it)", "released 3"} {
		require.Equal(t, want, <-heard)
	}
	end()
	require.ErrorIs(t, <-result, domain.ErrCanceled)
	require.Empty(t, a.told, "what was refused is not released")
}

func TestABindThatIsGivenBackIsCalledOff(t *testing.T) {
	g, heard := newGuest(), make(chan string, 16)
	began := make(chan struct{})
	g.forwards = func(s forwardsStream) error {
		_ = s.Send(snapshot())
		_ = s.Send(bindMessage(leaseMessage("1", 80)))
		<-began
		_ = s.Send(releaseMessage("1"))
		_ = s.Send(releaseMessage("1")) // once more is nothing
		heard <- recv(t, s)
		heard <- recv(t, s)
		return idle(s)
	}
	for name, late := range map[string]error{"refused": errors.New("called off"), "opened all the same": nil} {
		t.Run(name, func(t *testing.T) {
			began = make(chan struct{})
			c, _ := client()
			a := newApplication()
			a.onBind = func(ctx context.Context, _ port.ForwardLease) error {
				close(began)
				<-ctx.Done()
				return late
			}
			follow(t, connect(t, c, serve(t, g)), a)
			a.expect(t, resetTo{}, bound(leaseOf("1", 80)))
			if late == nil {
				a.expect(t, freed("1"))
			}
			require.Contains(t, <-heard, "answer 1")
			require.Equal(t, "released 1", <-heard)
			require.Empty(t, a.told)
		})
	}
}

func TestWhatIsWrongWithALeaseConcernsItAlone(t *testing.T) {
	bad := map[string]func(*agentv1.ForwardLease){
		"protocol":     func(l *agentv1.ForwardLease) { l.Protocol = 7 },
		"host address": func(l *agentv1.ForwardLease) { l.HostIp = []byte{1, 2, 3} },
		"host port":    func(l *agentv1.ForwardLease) { l.HostPort = 1 << 16 },
		"no host port": func(l *agentv1.ForwardLease) { l.HostPort = 0 },
		"multicast":    func(l *agentv1.ForwardLease) { l.HostIp = []byte{224, 0, 0, 1} },
		"loopback":     func(l *agentv1.ForwardLease) { l.ContainerIp = []byte{127, 0, 0, 1} },
		"mapped": func(l *agentv1.ForwardLease) {
			a := netip.MustParseAddr("::ffff:127.0.0.1").As16()
			l.ContainerIp = a[:]
		},
		"link-local":     func(l *agentv1.ForwardLease) { l.ContainerIp = []byte{169, 254, 169, 254} },
		"broadcast":      func(l *agentv1.ForwardLease) { l.ContainerIp = []byte{255, 255, 255, 255} },
		"anything":       func(l *agentv1.ForwardLease) { l.ContainerIp = make([]byte, 16) },
		"container port": func(l *agentv1.ForwardLease) { l.ContainerPort = 0 },
		"used already":   func(l *agentv1.ForwardLease) { l.Id = "1" },
	}
	for name, spoil := range bad {
		t.Run(name, func(t *testing.T) {
			g, heard := newGuest(), make(chan string, 16)
			g.forwards = func(s forwardsStream) error {
				l := leaseMessage("2", 81)
				spoil(l)
				_ = s.Send(snapshot(leaseMessage("1", 80)))
				_ = s.Send(bindMessage(l))
				heard <- recv(t, s)
				_ = s.Send(bindMessage(leaseMessage("3", 82)))
				heard <- recv(t, s)
				return idle(s)
			}
			c, _ := client()
			a := newApplication()
			follow(t, connect(t, c, serve(t, g)), a)
			a.expect(t, resetTo{leaseOf("1", 80)}, bound(leaseOf("3", 82)))
			require.Regexp(t, `^answer [12] .+`, <-heard)
			require.Equal(t, "answer 3", <-heard)
		})
	}
}

func TestAStreamAgainstTheProtocolIsOpenedAgain(t *testing.T) {
	for name, messages := range map[string][]*agentv1.ForwardsResponse{
		"no snapshot":         {bindMessage(leaseMessage("1", 80))},
		"two snapshots":       {snapshot(), snapshot()},
		"bad id":              {snapshot(), bindMessage(leaseMessage("a b", 80))},
		"bad id of a release": {snapshot(), releaseMessage("")},
		"twice in a snapshot": {snapshot(leaseMessage("1", 80), leaseMessage("1", 81))},
		"bad in a snapshot":   {snapshot(leaseMessage("1", 0))},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest()
			broken := make(chan string, 1)
			g.forwards = script(func(s forwardsStream) error {
				for _, m := range messages {
					_ = s.Send(m)
				}
				broken <- recv(t, s)
				return nil
			}, func(s forwardsStream) error {
				_ = s.Send(snapshot(leaseMessage("9", 89)))
				return idle(s)
			})
			c, _ := client()
			a := newApplication()
			follow(t, connect(t, c, serve(t, g)), a)
			require.Contains(t, <-broken, "broken: ")
			for {
				r, ok := (<-a.told).(resetTo)
				require.True(t, ok)
				if len(r) == 1 && r[0].ID == "9" {
					return
				}
			}
		})
	}
}

// A stream that breaks ends what was under way before the next one begins.
func TestAfterABreakTheSnapshotComesWhenAllIsQuiet(t *testing.T) {
	g := newGuest()
	binding := make(chan struct{})
	g.forwards = script(func(s forwardsStream) error {
		_ = s.Send(snapshot())
		_ = s.Send(bindMessage(leaseMessage("1", 80)))
		<-binding
		return errors.New("broken")
	}, func(s forwardsStream) error {
		_ = s.Send(snapshot())
		_ = s.Send(bindMessage(leaseMessage("1", 80)))
		return idle(s)
	})
	c, _ := client()
	a := newApplication()
	var under, first atomic.Int32
	a.onBind = func(ctx context.Context, _ port.ForwardLease) error {
		require.EqualValues(t, 1, under.Add(1))
		defer under.Add(-1)
		if first.Add(1) == 1 {
			close(binding)
			<-ctx.Done()
			time.Sleep(20 * time.Millisecond) // rolling back takes its time
		}
		return ctx.Err()
	}
	follow(t, connect(t, c, serve(t, g)), a)
	a.expect(t, resetTo{}, bound(leaseOf("1", 80)), resetTo{}, bound(leaseOf("1", 80)))
}

func TestForwardsEndWithTheSession(t *testing.T) {
	g := newGuest()
	g.forwards = func(s forwardsStream) error { _ = s.Send(snapshot()); return idle(s) }
	c, _ := client()
	a := newApplication()
	_, result := follow(t, connect(t, c, serve(t, g)), a)
	a.expect(t, resetTo{})
	close(g.ending)
	require.ErrorIs(t, <-result, domain.ErrAgentLost)
}

func TestAnAgentWithoutForwardsIsTooOld(t *testing.T) {
	c, _ := client()
	s := connect(t, c, serve(t, newGuest()))
	_, result := follow(t, s, newApplication())
	err := <-result
	require.ErrorIs(t, err, domain.ErrProtocol)
	require.ErrorContains(t, err, "cannot publish ports")
	require.Contains(t, domain.Hint(err), "boot prefetch")
	require.NoError(t, s.Err(), "the session lives on")
}

func TestManyLeasesInParallelEachInOrder(t *testing.T) {
	const leases = 500
	g, answered := newGuest(), make(chan string, 3*leases)
	g.forwards = func(s forwardsStream) error {
		_ = s.Send(snapshot())
		for i := range leases {
			_ = s.Send(bindMessage(leaseMessage(fmt.Sprint(i), uint32(i+1))))
			if i%2 == 1 {
				_ = s.Send(releaseMessage(fmt.Sprint(i)))
			}
		}
		for i := range leases {
			if i%2 == 0 {
				_ = s.Send(releaseMessage(fmt.Sprint(i)))
			}
		}
		for {
			m, err := s.Recv()
			if err != nil {
				return err
			}
			if r := m.GetReleased(); r != nil {
				answered <- r.Id
			}
		}
	}
	c, _ := client()
	a := newApplication()
	a.told = make(chan any, 3*leases)
	var mu sync.Mutex
	busy, most := map[string]bool{}, 0
	work := func(id string) {
		mu.Lock()
		if busy[id] {
			t.Errorf("two at a time for lease %s", id)
		}
		busy[id] = true
		most = max(most, len(busy))
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		delete(busy, id)
		mu.Unlock()
	}
	a.onBind = func(_ context.Context, l port.ForwardLease) error { work(l.ID); return nil }
	a.onRelease = work
	follow(t, connect(t, c, serve(t, g)), a)
	seen := map[string]bool{}
	for range leases {
		select {
		case id := <-answered:
			seen[id] = true
		case <-time.After(20 * time.Second):
			t.Fatal("not all were released")
		}
	}
	require.Len(t, seen, leases)
	require.Greater(t, most, 1)
	require.LessOrEqual(t, most, bindsAtOnce)
}

func FuzzLease(f *testing.F) {
	f.Add("1", int32(1), []byte{0, 0, 0, 0}, uint32(80), []byte{172, 17, 0, 2}, uint32(80))
	f.Add("x", int32(2), make([]byte, 16), uint32(65535), make([]byte, 16), uint32(1<<31))
	f.Fuzz(func(t *testing.T, id string, protocol int32, hostIP []byte, hostPort uint32, ip []byte, containerPort uint32) {
		l, err := toLease(&agentv1.ForwardLease{Id: id, Protocol: agentv1.ForwardProtocol(protocol),
			HostIp: hostIP, HostPort: hostPort, ContainerIp: ip, ContainerPort: containerPort})
		if err != nil {
			return
		}
		require.Contains(t, []domain.Protocol{domain.TCP, domain.UDP}, l.Rule.Protocol)
		for _, e := range []netip.AddrPort{l.Rule.Host, l.Rule.Target} {
			require.True(t, e.IsValid())
			require.NotZero(t, e.Port())
			require.False(t, e.Addr().Is4In6())
			require.False(t, e.Addr().IsMulticast())
		}
		require.False(t, l.Rule.Target.Addr().IsLoopback() || l.Rule.Target.Addr().IsUnspecified() || l.Rule.Target.Addr().IsLinkLocalUnicast())
	})
}

func FuzzListeners(f *testing.F) {
	f.Add(strings.Repeat("a", 64), int32(1), []byte{0, 0, 0, 0}, uint32(80), true)
	f.Fuzz(func(t *testing.T, container string, protocol int32, ip []byte, p uint32, dual bool) {
		m := &agentv1.GuestListener{Container: container, Protocol: agentv1.ForwardProtocol(protocol), Ip: ip, Port: p, DualStack: dual}
		got, err := toListeners(&agentv1.GuestListeners{Listeners: []*agentv1.GuestListener{m}})
		require.NoError(t, err)
		for _, l := range got {
			require.Len(t, l.Container, 64)
			require.NotZero(t, l.Addr.Port())
			require.False(t, l.DualStack && l.Addr.Addr() != netip.IPv6Unspecified())
		}
	})
}

func TestTooMuchOfAGuestIsRefused(t *testing.T) {
	leases, sockets := make([]*agentv1.ForwardLease, maxLeases+1), make([]*agentv1.GuestListener, maxListeners+1)
	for i := range leases {
		leases[i] = leaseMessage(fmt.Sprint(i), 80)
	}
	_, err := toLeases(&agentv1.ForwardSnapshot{Leases: leases})
	require.ErrorIs(t, err, domain.ErrProtocol)
	all, err := toLeases(&agentv1.ForwardSnapshot{Leases: leases[1:]})
	require.NoError(t, err)
	require.Len(t, all, maxLeases)
	_, err = toListeners(&agentv1.GuestListeners{Listeners: sockets})
	require.ErrorIs(t, err, domain.ErrProtocol)
}
