package containers_test

import (
	"context"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"arcbox/application/containers"
	"arcbox/application/lifecycle"
	"arcbox/application/lifecycle/lifecycletest"
	"arcbox/application/port"
	"arcbox/application/port/mock"
	"arcbox/domain"
)

// host is a computer whose machine runs, with ports and names.
type host struct {
	t        *testing.T
	rig      *lifecycletest.Rig
	vm       *lifecycle.Actor
	forwards *containers.Forwards
	names    *containers.Names
	engine   *watched
	trees    *trees
	blind    bool   // vm.watch is off
	stop     func() // the network, as the daemon does when it stops
}

// watched is a port.ContainerWatcher whose news the test makes.
type watched struct {
	tell  func(domain.ContainerChange) error
	calls int
	fail  chan error
}

func onHost(t *testing.T, f func(t *testing.T, h *host)) {
	t.Helper()
	onHostThat(t, func(*host) {}, f)
}

// onHostThat has prepare change the host before its machine is started.
func onHostThat(t *testing.T, prepare func(h *host), f func(t *testing.T, h *host)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &host{t: t, rig: lifecycletest.New(t), engine: &watched{fail: make(chan error)}, trees: &trees{}}
		prepare(h)
		h.vm = h.rig.Actor(t, lifecycletest.Options())
		log := slog.New(slog.DiscardHandler)
		engines := containers.New(containers.Options{}, map[domain.Role]containers.Machine{domain.RoleNative: {VM: h.vm}}, h.rig.Ports.Events, log)
		h.forwards = containers.NewForwards(containers.ForwardOptions{Guest4: addr("10.0.2.2"), Guest6: addr("fd0a:bc::2")}, h.rig.Ports.Events, log)
		h.names = containers.NewNames()
		w := mock.NewMockContainerWatcher(gomock.NewController(t))
		w.EXPECT().Watch(gomock.Any(), gomock.Any(), gomock.Any()).AnyTimes().DoAndReturn(h.engine.watch)
		network := containers.NewNetwork(containers.NetworkParts{Engines: engines, Forwards: h.forwards, Names: h.names, Watches: h.watches(), Watcher: w, Log: log})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); network.Run(ctx) }()
		h.stop = func() { cancel(); <-ended }
		defer h.stop()
		h.boot()
		f(t, h)
		h.stop()
		require.Empty(t, h.rig.Listening(), "a port outlived the daemon")
		require.Empty(t, h.forwards.Forwards())
	})
}

func (w *watched) watch(ctx context.Context, e port.Engine, tell func(domain.ContainerChange) error) error {
	w.tell = tell
	w.calls++
	select {
	case err := <-w.fail:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-e.Gone():
		return domain.ErrNotRunning
	}
}

// boot boots the machine until its engine answers.
func (h *host) boot() {
	h.t.Helper()
	_, err := h.vm.EnsureReady(h.t.Context())
	require.NoError(h.t, err)
	h.rig.Guest().Push(ready())
	synctest.Wait()
	require.NotNil(h.t, h.rig.Guest().Handler())
}

func (h *host) guest() port.ForwardHandler { return h.rig.Guest().Handler() }

func (h *host) news(c domain.ContainerChange) {
	h.t.Helper()
	require.NoError(h.t, h.engine.tell(c))
}

// status returns the only forward that listens, or should, at a host address.
func (h *host) status(at string) domain.ForwardStatus {
	h.t.Helper()
	for _, s := range h.forwards.Forwards() {
		if s.Rule.Host.String() == at {
			return s
		}
	}
	require.Fail(h.t, "no forward at "+at)
	return domain.ForwardStatus{}
}

// listening returns the host's addresses that are open.
func (h *host) listening() []string {
	var out []string
	for _, r := range h.rig.Listening() {
		out = append(out, r.Host.String()+"/"+string(r.Protocol))
	}
	return out
}

func (h *host) occupy(at string, busy bool) { h.rig.Occupy(netip.MustParseAddrPort(at), busy) }

// dockerRun is a client that starts a container until done.
func (h *host) dockerRun(ref string) (done func()) {
	return h.forwards.Starting(domain.RoleNative, ref)
}

// count says how often an event was published.
func (h *host) count(kind domain.EventKind) (n int) {
	for _, k := range h.rig.Events() {
		if k == kind {
			n++
		}
	}
	return n
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func rule(hostAddr, target string) domain.ForwardRule {
	proto, at, _ := strings.Cut(hostAddr, " ")
	return domain.ForwardRule{Protocol: domain.Protocol(proto), Host: netip.MustParseAddrPort(at), Target: netip.MustParseAddrPort(target)}
}

func lease(id, hostAddr, target string) port.ForwardLease {
	return port.ForwardLease{ID: id, Rule: rule(hostAddr, target)}
}

// id is the full id of a container for tests.
func id(letter string) string { return strings.Repeat(letter, 64) }

func container(letter, name, at string, requested ...domain.PortBinding) domain.ContainerFacts {
	f := domain.ContainerFacts{ID: id(letter), Name: name, Running: at != "", Requested: requested}
	if at != "" {
		f.Networks = []domain.ContainerNetwork{{Name: "bridge", Addrs: []netip.Addr{addr(at)}}}
	}
	return f
}

// sleepOverAPause lets everything that is retried be tried once more.
func sleepOverAPause() { time.Sleep(16 * time.Second) }

func leases(held map[string]port.ForwardLease) iter.Seq[port.ForwardLease] { return maps.Values(held) }
