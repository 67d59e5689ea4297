package containers_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/application/containers"
	"arcbox/application/lifecycle"
	"arcbox/application/lifecycle/lifecycletest"
	"arcbox/application/port"
	"arcbox/domain"
)

type memory struct {
	mu    sync.Mutex
	info  domain.EngineInfo
	saves int
}

func (m *memory) Load() domain.EngineInfo { m.mu.Lock(); defer m.mu.Unlock(); return m.info }
func (m *memory) Save(i domain.EngineInfo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.info = i
	m.saves++
}

type world struct {
	rig     *lifecycletest.Rig
	vm      *lifecycle.Actor
	memory  *memory
	engines *containers.Engines
}

func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{rig: lifecycletest.New(t), memory: &memory{info: domain.EngineInfo{Version: "28.0", APIVersion: "1.50"}}}
		w.vm = w.rig.Actor(t, lifecycletest.Options())
		w.engines = containers.New(containers.Options{TCGFactor: 4},
			map[domain.Role]containers.Machine{domain.RoleNative: {VM: w.vm, Memory: w.memory}},
			w.rig.Ports.Events, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.engines.Run(ctx) }()
		defer func() { cancel(); <-ended }()
		f(t, w)
	})
}

type reply struct {
	engine port.Engine
	err    error
}

func (w *world) ensure(ctx context.Context) <-chan reply {
	c := make(chan reply, 1)
	go func() {
		e, err := w.engines.EnsureReady(ctx, domain.RoleNative)
		c <- reply{e, err}
	}()
	synctest.Wait()
	return c
}

func ready() domain.GuestStatus {
	return domain.GuestStatus{EngineReady: true, EngineVersion: "29.1", EngineAPI: "1.56"}
}

func service(name string, state domain.ServiceState, detail string) domain.GuestStatus {
	return domain.GuestStatus{Services: []domain.ServiceStatus{{Name: name, State: state, Detail: detail}}}
}

func TestEngineOfARun(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, up := w.engines.Peek(domain.RoleNative)
		require.False(t, up)
		require.Equal(t, domain.EngineInfo{Version: "28.0", APIVersion: "1.50"}, w.engines.Known(domain.RoleNative))

		waiter := w.ensure(t.Context())
		w.rig.Guest().Push(service("dockerd", domain.ServiceFailed, "try again")) // its supervisor restarts it
		synctest.Wait()
		require.Empty(t, waiter)
		w.rig.Guest().Push(ready())
		got := <-waiter
		require.NoError(t, got.err)
		synctest.Wait()
		require.Equal(t, domain.EngineInfo{Ready: true, Version: "29.1", APIVersion: "1.56"}, w.engines.Known(domain.RoleNative))
		require.Equal(t, domain.EngineInfo{Version: "29.1", APIVersion: "1.56"}, w.memory.Load())
		peeked, up := w.engines.Peek(domain.RoleNative)
		require.True(t, up)
		require.Same(t, got.engine, peeked)
		snapshot := w.vm.Snapshot()
		require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = w.engines.EnsureReady(t.Context(), domain.RoleNative) }))
		require.Same(t, snapshot, w.vm.Snapshot())

		require.NoError(t, w.vm.Stop(t.Context()))
		<-got.engine.Gone()
		synctest.Wait()
		_, up = w.engines.Peek(domain.RoleNative)
		require.False(t, up)
		require.False(t, w.engines.Known(domain.RoleNative).Ready)

		waiter = w.ensure(t.Context())
		w.rig.Guest().Push(ready())
		again := <-waiter
		require.NoError(t, again.err)
		require.NotEqual(t, got.engine.Generation(), again.engine.Generation())
		synctest.Wait()
		require.Equal(t, 1, w.memory.saves, "what is known already is not saved again")
		// Whether the machine's stop or its engine's is told first is not promised.
		var machine, engine []domain.EventKind
		for _, k := range w.rig.Events() {
			if k == domain.EventEngineReady || k == domain.EventEngineDown {
				engine = append(engine, k)
			} else {
				machine = append(machine, k)
			}
		}
		require.Equal(t, []domain.EventKind{domain.EventEngineReady, domain.EventEngineDown, domain.EventEngineReady}, engine)
		require.Equal(t, []domain.EventKind{domain.EventMachineCreated, domain.EventMachineStarted, domain.EventMachineStopped,
			domain.EventMachineStarted}, machine)
	})
}

func TestEngineThatRestartsIsWaitedFor(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		waiter := w.ensure(t.Context())
		w.rig.Guest().Push(ready())
		first := <-waiter
		require.NoError(t, first.err)
		w.rig.Guest().Push(service("dockerd", domain.ServiceStarting, ""))
		synctest.Wait()
		_, up := w.engines.Peek(domain.RoleNative)
		require.False(t, up)
		waiter = w.ensure(t.Context())
		require.Empty(t, waiter)
		w.rig.Guest().Push(ready())
		second := <-waiter
		require.NoError(t, second.err)
		require.Equal(t, first.engine.Generation(), second.engine.Generation(), "it is the same run")
	})
}

func TestEngineThatDoesNotComeUp(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*world)
		kind    error
		text    string
		after   time.Duration
	}{
		"dockerd fails again and again": {func(w *world) {
			w.rig.Guest().Push(service("dockerd", domain.ServiceFailed, "no nftables"))
		}, domain.ErrTimeout, "dockerd failed\ndockerd:\n  | no nftables", time.Minute},
		"the data disk is refused": {func(w *world) {
			w.rig.Guest().Push(service("data-disk", domain.ServiceFailed, "it holds ntfs"))
		}, domain.ErrUnavailable, "it holds ntfs", 0},
		"the machine dies": {func(w *world) { w.rig.Guest().Exit(errors.New("signal: killed")) },
			domain.ErrNotRunning, "signal: killed", 0},
		"the machine is stopped": {func(w *world) { go func() { _ = w.vm.Stop(context.Background()) }() },
			domain.ErrNotRunning, "stopped", 0},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				begin := time.Now()
				waiter := w.ensure(t.Context())
				c.happens(w)
				got := <-waiter
				require.Nil(t, got.engine)
				require.ErrorIs(t, got.err, c.kind)
				require.ErrorContains(t, got.err, c.text)
				require.Equal(t, c.after, time.Since(begin))
			})
		})
	}
}

func TestBudgetUnderEmulationAndCaller(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.rig.Info.Accelerator = domain.AcceleratorTCG
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		leaves, stays := w.ensure(ctx), w.ensure(t.Context())
		got := <-leaves
		require.ErrorIs(t, got.err, domain.ErrTimeout)
		require.ErrorIs(t, got.err, context.DeadlineExceeded)
		require.ErrorContains(t, got.err, "no service yet")
		require.ErrorIs(t, (<-stays).err, domain.ErrTimeout)
		require.Equal(t, 4*time.Minute, time.Since(begin))
	})
}

func TestFailedBootIsTheEnginesError(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.rig.Connect = func(context.Context, *lifecycletest.Guest) error { return domain.ErrProtocol }
		got := <-w.ensure(t.Context())
		require.Nil(t, got.engine)
		require.ErrorIs(t, got.err, domain.ErrProtocol)
	})
}

func TestRoleWithoutAMachine(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		e, err := w.engines.EnsureReady(t.Context(), domain.RoleRosetta)
		require.Nil(t, e)
		require.ErrorIs(t, err, domain.ErrUnsupported)
		require.Contains(t, domain.Hint(err), "Apple silicon")
		_, up := w.engines.Peek(domain.RoleRosetta)
		require.False(t, up)
		require.Zero(t, w.engines.Known(domain.RoleRosetta))
		w.engines.Hold(domain.RoleRosetta)()
	})
}

func TestHoldKeepsTheMachineFromIdling(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		waiter := w.ensure(t.Context())
		w.rig.Guest().Push(ready())
		require.NoError(t, (<-waiter).err)
		release := w.engines.Hold(domain.RoleNative)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, domain.StateRunning, w.vm.Status().State)
		release()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		require.Equal(t, domain.StateIdle, w.vm.Status().State)
		_, up := w.engines.Peek(domain.RoleNative)
		require.True(t, up, "an idle machine still answers")
	})
}
