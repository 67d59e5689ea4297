// Package lifecycletest makes machines for tests: generated mocks of the ports
// behind a lifecycle, told to behave like a host whose guests boot. Only tests
// import it.
package lifecycletest

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/golang/mock/gomock"

	"arcbox/application/lifecycle"
	"arcbox/application/port"
	"arcbox/application/port/mock"
	"arcbox/domain"
)

// Rig is a host. Its functions may be replaced before the actor runs; they
// are called without its lock.
type Rig struct {
	Ports lifecycle.Ports

	Info    domain.HypervisorInfo
	Resolve func(ctx context.Context) error
	Start   func(ctx context.Context, g *Guest) error
	Connect func(ctx context.Context, g *Guest) error
	// Config is what is to be told of the host, Configure telling it.
	Config    func(ctx context.Context) (domain.GuestConfig, error)
	OpenShare func(shares []domain.Share) error
	Configure func(ctx context.Context, g *Guest, c domain.GuestConfig) error
	Touch     func(ctx context.Context, g *Guest, changes []domain.PathChange) error
	Shutdown  func(ctx context.Context, g *Guest) error
	Kill      func(ctx context.Context, g *Guest) error
	CloseLink func() error
	// Forward is what a host does before it opens a port, SetBehind before a link
	// takes prefixes.
	Forward   func(ctx context.Context, rule domain.ForwardRule) error
	SetBehind func(prefixes []netip.Prefix) error

	control *gomock.Controller
	mu      sync.Mutex
	assets  domain.BootAssets
	store   map[domain.MachineName]domain.Machine
	damaged bool
	saves   int
	guests  []*Guest
	events  []domain.Event
	open    map[string]int
	memory  []domain.MiB
	silence time.Duration
	link    *linkPorts // the newest
	host    hostPorts
}

// New returns a host on which everything works at once.
func New(t *testing.T) *Rig {
	ok := func(context.Context, *Guest) error { return nil }
	r := &Rig{
		Info:      domain.HypervisorInfo{Driver: "qemu", Accelerator: domain.AcceleratorKVM},
		Resolve:   func(context.Context) error { return nil },
		Start:     ok,
		Touch:     func(context.Context, *Guest, []domain.PathChange) error { return nil },
		Connect:   ok,
		Config:    func(context.Context) (domain.GuestConfig, error) { return domain.GuestConfig{}, nil },
		OpenShare: func([]domain.Share) error { return nil },
		Configure: func(context.Context, *Guest, domain.GuestConfig) error { return nil },
		Shutdown:  func(_ context.Context, g *Guest) error { g.Exit(nil); return nil },
		Kill:      func(_ context.Context, g *Guest) error { g.Exit(nil); return nil },
		CloseLink: func() error { return nil },
		Forward:   func(context.Context, domain.ForwardRule) error { return nil },
		SetBehind: func([]netip.Prefix) error { return nil },
		host:      hostPorts{busy: map[netip.AddrPort]bool{}, open: map[*hostPort]bool{}},
		control:   gomock.NewController(t),
		assets:    domain.BootAssets{Version: "1", Kernel: "boot/1/kernel", Rootfs: "boot/1/rootfs.erofs", Cmdline: "console=ttyS0 quiet"},
		store:     map[domain.MachineName]domain.Machine{},
		open:      map[string]int{},
	}
	r.Ports = lifecycle.Ports{
		Assets: r.bootAssets(), Store: r.machineStore(), Disks: r.disks(), Networks: r.networks(),
		HostConfig: r.hostConfig(), Shares: r.shares(),
		Hypervisor: r.hypervisor(), Agents: r.agents(), Logs: r.logs(), Events: r.publisher(),
		Log: slog.New(slog.DiscardHandler),
	}
	return r
}

// Options returns a machine that this host can run.
func Options() lifecycle.Options {
	return lifecycle.Options{
		Machine: domain.DefaultMachine, CPUs: 2, Memory: 2048, Disk: 64, DataDisk: "data/docker.img",
		DockerPort: domain.PortDocker, TCGFactor: 4, IdleMemory: 512, Timing: lifecycle.DefaultTiming(),
	}
}

// Actor returns a running actor, closed at the end of the test.
func (r *Rig) Actor(t *testing.T, o lifecycle.Options) *lifecycle.Actor {
	t.Helper()
	a, err := lifecycle.New(o, r.Ports)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.Run(context.WithoutCancel(t.Context()))
	}()
	t.Cleanup(func() {
		_ = a.Close(context.Background())
		<-ended
		r.mu.Lock()
		defer r.mu.Unlock()
		for what, n := range r.open {
			if n != 0 {
				t.Errorf("%d times %s is left open", n, what)
			}
		}
	})
	return a
}

// Guests returns every guest that was started, the newest last.
func (r *Rig) Guests() []*Guest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Guest(nil), r.guests...)
}

// Guest returns the newest guest.
func (r *Rig) Guest() *Guest { g := r.Guests(); return g[len(g)-1] }

// Memory returns the memory that guests were asked to work with.
func (r *Rig) Memory() []domain.MiB {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]domain.MiB(nil), r.memory...)
}

// Silence returns how long the newest guest may be silent.
func (r *Rig) Silence() time.Duration { r.mu.Lock(); defer r.mu.Unlock(); return r.silence }

// Saves counts the records written.
func (r *Rig) Saves() int { r.mu.Lock(); defer r.mu.Unlock(); return r.saves }

// Upgrade replaces the asset set by a newer one.
func (r *Rig) Upgrade() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.assets.Kernel, r.assets.Rootfs = "boot/2/kernel", "boot/2/rootfs.erofs"
}

// DamageStore makes the stored records unreadable.
func (r *Rig) DamageStore() { r.mu.Lock(); defer r.mu.Unlock(); r.damaged = true }

// Events returns the kinds of what was published.
func (r *Rig) Events() []domain.EventKind {
	r.mu.Lock()
	defer r.mu.Unlock()
	var kinds []domain.EventKind
	for _, e := range r.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func (r *Rig) count(what string, n int) { r.mu.Lock(); defer r.mu.Unlock(); r.open[what] += n }

func (r *Rig) bootAssets() port.BootAssets {
	m := mock.NewMockBootAssets(r.control)
	m.EXPECT().Resolve(gomock.Any()).AnyTimes().DoAndReturn(func(ctx context.Context) (domain.BootAssets, error) {
		if err := r.Resolve(ctx); err != nil {
			return domain.BootAssets{}, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.assets, nil
	})
	return m
}

func (r *Rig) machineStore() port.MachineStore {
	m := mock.NewMockMachineStore(r.control)
	m.EXPECT().Load(gomock.Any(), gomock.Any()).AnyTimes().DoAndReturn(
		func(_ context.Context, name domain.MachineName) (domain.Machine, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.damaged {
				return domain.Machine{}, domain.ErrCorrupt
			}
			rec, ok := r.store[name]
			if !ok {
				return rec, domain.ErrNotFound
			}
			return rec, nil
		})
	m.EXPECT().Save(gomock.Any(), gomock.Any()).AnyTimes().DoAndReturn(func(_ context.Context, rec domain.Machine) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.store[rec.Name] = rec
		r.saves++
		r.damaged = false
		return nil
	})
	return m
}

func (r *Rig) disks() port.Disks {
	m := mock.NewMockDisks(r.control)
	m.EXPECT().EnsureData(gomock.Any(), gomock.Any(), gomock.Any()).AnyTimes().Return(nil)
	m.EXPECT().EnsureRuntime(gomock.Any()).AnyTimes().Return("runtime.erofs", nil)
	return m
}

func (r *Rig) networks() port.Networks {
	m := mock.NewMockNetworks(r.control)
	m.EXPECT().Open(gomock.Any()).AnyTimes().DoAndReturn(func(domain.MachineName) (port.NetworkLink, error) {
		r.count("a link", 1)
		return r.newLink(), nil
	})
	return m
}

func (r *Rig) hostConfig() port.HostConfig {
	m := mock.NewMockHostConfig(r.control)
	m.EXPECT().GuestConfig(gomock.Any()).AnyTimes().DoAndReturn(func(ctx context.Context) (domain.GuestConfig, error) { return r.Config(ctx) })
	return m
}

func (r *Rig) shares() port.Shares {
	m := mock.NewMockShares(r.control)
	m.EXPECT().Open(gomock.Any(), gomock.Any()).AnyTimes().DoAndReturn(func(_ domain.MachineName, shares []domain.Share) (port.ShareLink, error) {
		if err := r.OpenShare(shares); err != nil {
			return nil, err
		}
		r.count("a share", 1)
		l := mock.NewMockShareLink(r.control)
		l.EXPECT().Close().MaxTimes(1).DoAndReturn(func() error {
			r.mu.Lock()
			up := r.open["a machine"] > 0
			r.mu.Unlock()
			if up {
				return fmt.Errorf("the shares are in use: %w", domain.ErrInvalidState)
			}
			r.count("a share", -1)
			return nil
		})
		return l, nil
	})
	return m
}

func (r *Rig) hypervisor() port.Hypervisor {
	m := mock.NewMockHypervisor(r.control)
	m.EXPECT().Probe(gomock.Any()).AnyTimes().DoAndReturn(func(ctx context.Context) (domain.HypervisorInfo, error) {
		return r.Info, ctx.Err()
	})
	m.EXPECT().Start(gomock.Any(), gomock.Any()).AnyTimes().DoAndReturn(func(ctx context.Context, spec port.VMSpec) (port.VM, error) {
		g := newGuest(r, spec.Plan)
		g.Shared = spec.Shares != nil
		if err := r.Start(ctx, g); err != nil {
			return nil, err
		}
		r.mu.Lock()
		r.guests = append(r.guests, g)
		r.open["a machine"]++
		r.mu.Unlock()
		return g.machine(), nil
	})
	return m
}

func (r *Rig) agents() port.Agents {
	m := mock.NewMockAgents(r.control)
	m.EXPECT().Connect(gomock.Any(), gomock.Any(), gomock.Any(), gomock.Any()).AnyTimes().DoAndReturn(
		func(ctx context.Context, _ domain.MachineName, _ port.Dialer, silence time.Duration) (port.AgentSession, error) {
			g := r.Guest()
			r.mu.Lock()
			r.silence = silence
			r.mu.Unlock()
			if err := r.Connect(ctx, g); err != nil {
				return nil, err
			}
			r.count("a session", 1)
			return g.session(), nil
		})
	return m
}

func (r *Rig) logs() port.LogFiles {
	m := mock.NewMockLogFiles(r.control)
	m.EXPECT().Path(gomock.Any(), gomock.Any()).AnyTimes().Return("log/kernel.log")
	m.EXPECT().Tail(gomock.Any(), "kernel", gomock.Any()).AnyTimes().Return([]string{"Kernel panic\x1b[0m"}, nil)
	return m
}

func (r *Rig) publisher() port.EventPublisher {
	m := mock.NewMockEventPublisher(r.control)
	m.EXPECT().Publish(gomock.Any()).AnyTimes().Do(func(e domain.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	})
	return m
}

// Wait is a boot step that takes d and ends early with ctx.
func Wait(d time.Duration) func(context.Context, *Guest) error {
	return func(ctx context.Context, _ *Guest) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
