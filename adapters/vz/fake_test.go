package vz

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/domain"
)

// fakeFramework is a framework that keeps its word or breaks it as told.
type fakeFramework struct {
	facts    facts
	factsErr error
	buildErr error
	asked    int
	guest    *fakeGuest
	config   Configuration
	files    resources
}

func (f *fakeFramework) Facts() (facts, error) { f.asked++; return f.facts, f.factsErr }

func (f *fakeFramework) Build(c Configuration, r resources) (guest, error) {
	f.config, f.files = c, r
	if f.buildErr != nil {
		return nil, f.buildErr
	}
	return f.guest, nil
}

// fakeGuest starts, stops and connects as its functions say.
type fakeGuest struct {
	start    func() error
	stop     func() error
	connect  func(uint32) (port.Stream, error)
	states   chan state
	memory   chan uint64
	released chan struct{}

	pause, resume func() error
	savable       error
	save, restore func(path string) error
}

func newFakeGuest() *fakeGuest {
	g := &fakeGuest{states: make(chan state, 16), memory: make(chan uint64, 1), released: make(chan struct{})}
	g.start = func() error { g.states <- 4; g.states <- stateRunning; return nil }
	g.stop = func() error { g.states <- 7; g.states <- stateStopped; return nil }
	g.pause = func() error { g.states <- statePausing; g.states <- statePaused; return nil }
	g.resume = func() error { g.states <- stateResuming; g.states <- stateRunning; return nil }
	g.save = func(path string) error {
		g.states <- stateSaving
		defer func() { g.states <- statePaused }()
		return os.WriteFile(path, []byte("memory"), 0o644)
	}
	g.restore = func(path string) error {
		g.states <- stateRestoring
		g.states <- statePaused
		_, err := os.Stat(path)
		return err
	}
	g.connect = func(uint32) (port.Stream, error) {
		return nil, &frameworkError{posixDomain, darwinECONNRESET, "reset"}
	}
	return g
}

func (g *fakeGuest) Start() error                          { return g.start() }
func (g *fakeGuest) Stop() error                           { return g.stop() }
func (g *fakeGuest) Pause() error                          { return g.pause() }
func (g *fakeGuest) Resume() error                         { return g.resume() }
func (g *fakeGuest) Savable() error                        { return g.savable }
func (g *fakeGuest) Save(path string) error                { return g.save(path) }
func (g *fakeGuest) Restore(path string) error             { return g.restore(path) }
func (g *fakeGuest) Identifier() []byte                    { return []byte("identifier") }
func (g *fakeGuest) States() <-chan state                  { return g.states }
func (g *fakeGuest) Connect(p uint32) (port.Stream, error) { return g.connect(p) }
func (g *fakeGuest) SetMemory(bytes uint64) error          { g.memory <- bytes; return nil }
func (g *fakeGuest) Release()                              { close(g.released) }

// bench is a hypervisor on a fake framework, and a plan for it.
type bench struct {
	h    *Hypervisor
	f    *fakeFramework
	g    *fakeGuest
	spec port.VMSpec
}

const stopTimeout = 10 * time.Second

func newBench(t *testing.T) *bench {
	t.Helper()
	kernel := filepath.Join(t.TempDir(), "kernel")
	require.NoError(t, os.WriteFile(kernel, image(56, "ARMd"), 0o600))
	g := newFakeGuest()
	f := &fakeFramework{guest: g, facts: facts{Version: "14.6.1", Hypervisor: true, Rosetta: RosettaNotInstalled,
		Limits: Limits{MinCPUs: 1, MaxCPUs: 2, MinMemory: 64, MaxMemory: 4096}}}
	o := Options{StopTimeout: stopTimeout, Rosetta: func(n domain.MachineName) bool { return n == domain.RosettaMachine }}
	return &bench{h: newHypervisor(o, f, "arm64", quiet), f: f, g: g, spec: port.VMSpec{Plan: domain.VMPlan{
		Name: "default", CPUs: 2, Memory: 512, Kernel: kernel}}}
}

func (b *bench) start(t *testing.T) port.VM {
	t.Helper()
	vm, err := b.h.Start(t.Context(), b.spec)
	require.NoError(t, err)
	return vm
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

type fakeLink struct{ f *os.File }

func (l fakeLink) File() *os.File { return l.f }
func (fakeLink) MAC() [6]byte     { return goldenPlan().MAC }
func (fakeLink) MTU() int         { return 4000 }
func (fakeLink) Close() error     { return nil }

// closeCounter is a stream of which only the closing matters.
type closeCounter struct {
	net.Conn
	closed int
}

func (*closeCounter) CloseWrite() error { return nil }
func (c *closeCounter) Close() error    { c.closed++; return nil }
