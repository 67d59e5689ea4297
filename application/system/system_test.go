package system_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"arcbox/application/events"
	"arcbox/application/lifecycle"
	"arcbox/application/lifecycle/lifecycletest"
	"arcbox/application/port"
	"arcbox/application/port/mock"
	"arcbox/application/system"
	"arcbox/domain"
)

type world struct {
	rig     *lifecycletest.Rig
	vm      *lifecycle.Actor
	system  *system.System
	network func() error
	engine  func(context.Context) error
	space   *space
	updates []domain.SetupStatus // read it after settle
	settle  func()
}

func (w *world) phases() []domain.SetupPhase {
	var p []domain.SetupPhase
	for _, u := range w.updates {
		if len(p) == 0 || p[len(p)-1] != u.Phase {
			p = append(p, u.Phase)
		}
	}
	return p
}

func inWorld(t *testing.T, mode system.BootMode, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ok := func(context.Context) error { return nil }
		w := &world{rig: lifecycletest.New(t), network: func() error { return nil }, engine: ok, space: &space{allocated: []uint64{0}}}
		w.vm = w.rig.Actor(t, lifecycletest.Options())
		engines := mock.NewMockEngines(gomock.NewController(t))
		engines.EXPECT().EnsureReady(gomock.Any(), domain.RoleNative).AnyTimes().DoAndReturn(
			func(ctx context.Context, _ domain.Role) (port.Engine, error) { return nil, w.engine(ctx) })
		engines.EXPECT().Hold(domain.RoleNative).AnyTimes().Return(func() {})
		s, err := system.New(system.Options{Boot: mode}, system.Ports{
			Machines: map[domain.Role]*lifecycle.Actor{domain.RoleNative: w.vm},
			Engines:  engines, Assets: w.rig.Ports.Assets, Events: events.New(),
			Network: func() error { return w.network() },
			Space:   system.Space{Images: w.space, Pruner: w.space, OldAssets: w.space, DataDisk: "docker.img", DiskSize: 32},
			Log:     slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		w.system = s
		ctx, cancel := context.WithCancel(t.Context())
		ran, watched := make(chan struct{}), make(chan struct{})
		go func() { defer close(ran); s.Run(ctx) }()
		go func() {
			defer close(watched)
			_ = s.WatchSetup(ctx, func(st domain.SetupStatus) error { w.updates = append(w.updates, st); return nil })
		}()
		synctest.Wait()
		w.settle = synctest.Wait
		defer func() { cancel(); <-ran; <-watched }()
		f(t, w)
	})
}

func TestEagerStart(t *testing.T) {
	inWorld(t, system.BootEager, func(t *testing.T, w *world) {
		require.NoError(t, w.system.Init(t.Context()))
		w.settle()
		require.Equal(t, []domain.SetupPhase{
			domain.PhaseInitializing, domain.PhaseAssetsReady, domain.PhaseVMStarting,
			domain.PhaseVMReady, domain.PhaseNetworkReady, domain.PhaseReady,
		}, w.phases())
		require.True(t, w.system.Setup().VMRunning)
		require.Equal(t, domain.StateRunning, w.system.VM(domain.RoleNative).State)
		require.NoError(t, w.system.StopVM(t.Context(), domain.RoleNative, false))
		w.settle()
		require.False(t, w.system.Setup().VMRunning)
		require.Equal(t, domain.PhaseReady, w.system.Setup().Phase)
		require.NoError(t, w.system.StartVM(t.Context(), domain.RoleNative))
		w.settle()
		require.True(t, w.system.Setup().VMRunning)
	})
}

func TestStartOnDemandWithADownload(t *testing.T) {
	inWorld(t, system.BootOnDemand, func(t *testing.T, w *world) {
		w.rig.Resolve = func(context.Context) error {
			for _, phase := range []domain.AssetPhase{domain.AssetCached, domain.AssetDownloading, domain.AssetReady} {
				w.system.AssetProgress(domain.AssetProgress{Phase: phase, Name: "dockerd", Current: 1, Total: 2})
			}
			return nil
		}
		require.NoError(t, w.system.Init(t.Context()))
		w.settle()
		require.Equal(t, []domain.SetupPhase{
			domain.PhaseInitializing, domain.PhaseDownloadingAssets, domain.PhaseAssetsReady,
			domain.PhaseNetworkReady, domain.PhaseReady,
		}, w.phases())
		require.Empty(t, w.rig.Guests())
		w.system.AssetProgress(domain.AssetProgress{Phase: domain.AssetDownloading})
		require.Equal(t, domain.PhaseReady, w.system.Setup().Phase, "a later download does not undo the start")
	})
}

func TestWhatFailsAStart(t *testing.T) {
	broken := func(context.Context) error { return domain.WithHint(domain.ErrChecksum, "run arcbox boot prefetch") }
	inWorld(t, system.BootEager, func(t *testing.T, w *world) {
		w.rig.Resolve = broken
		require.ErrorIs(t, w.system.Init(t.Context()), domain.ErrChecksum)
		w.settle()
		st := w.system.Setup()
		require.Equal(t, domain.PhaseFailed, st.Phase)
		require.Contains(t, st.Error, "arcbox boot prefetch")
		require.False(t, st.VMRunning)
		require.True(t, w.vm.Status().State.NeedsStart())
	})
}

func TestAServiceOfTheHostThatIsNotOpenIsTold(t *testing.T) {
	inWorld(t, system.BootOnDemand, func(t *testing.T, w *world) {
		w.network = func() error { return errors.New("another program has port 5553") }
		require.NoError(t, w.system.Init(t.Context()))
		w.settle()
		var told string
		for _, u := range w.updates {
			if u.Phase == domain.PhaseNetworkReady {
				told = u.Message
			}
		}
		require.Equal(t, "not all of the host's services are open: another program has port 5553", told)
		require.Equal(t, domain.PhaseReady, w.system.Setup().Phase)
	})
}

func TestMachineThatDoesNotBootDegrades(t *testing.T) {
	inWorld(t, system.BootEager, func(t *testing.T, w *world) {
		w.rig.Connect = func(context.Context, *lifecycletest.Guest) error { return domain.ErrProtocol }
		require.NoError(t, w.system.Init(t.Context()))
		w.settle()
		require.Equal(t, []domain.SetupPhase{
			domain.PhaseInitializing, domain.PhaseAssetsReady, domain.PhaseVMStarting, domain.PhaseNetworkReady, domain.PhaseDegraded,
		}, w.phases())
		require.Contains(t, w.system.Setup().Error, domain.ErrProtocol.Error())
		w.rig.Connect = lifecycletest.Wait(0)
		require.NoError(t, w.system.StartVM(t.Context(), domain.RoleNative))
		w.settle()
		require.Equal(t, domain.PhaseDegraded, w.system.Setup().Phase, "its engine does not answer yet")
		w.rig.Guest().Push(domain.GuestStatus{EngineReady: true})
		w.settle()
		require.Equal(t, domain.PhaseReady, w.system.Setup().Phase)
		require.Empty(t, w.system.Setup().Error)
	})
}

func TestEngineThatDoesNotComeUpDegrades(t *testing.T) {
	inWorld(t, system.BootEager, func(t *testing.T, w *world) {
		w.engine = func(context.Context) error { return domain.ErrTimeout }
		require.NoError(t, w.system.Init(t.Context()))
		w.settle()
		require.Equal(t, domain.PhaseDegraded, w.system.Setup().Phase)
		require.True(t, w.system.Setup().VMRunning)
	})
}

func TestInterruptedStartLeavesNothing(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, spoil := range map[string]func(*world){
		"during the download": func(w *world) { w.rig.Resolve = hang },
		"during the boot":     func(w *world) { w.rig.Connect = lifecycletest.Wait(time.Hour) },
		"during the engine's": func(w *world) { w.engine = hang },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, system.BootEager, func(t *testing.T, w *world) {
				spoil(w)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				begin := time.Now()
				require.ErrorIs(t, w.system.Init(ctx), domain.ErrCanceled)
				require.Equal(t, time.Second, time.Since(begin))
				w.settle()
				require.Equal(t, domain.PhaseFailed, w.system.Setup().Phase)
				require.Contains(t, w.system.Setup().Error, "interrupted")
				require.True(t, w.vm.Status().State.NeedsStart())
			})
		})
	}
}

func TestShutdownDoesNotWaitForABoot(t *testing.T) {
	inWorld(t, system.BootOnDemand, func(t *testing.T, w *world) {
		w.rig.Connect = lifecycletest.Wait(time.Hour)
		require.NoError(t, w.system.Init(t.Context()))
		waiter := make(chan error)
		go func() { waiter <- w.system.StartVM(context.Background(), domain.RoleNative) }()
		time.Sleep(time.Second)
		w.settle()
		begin := time.Now()
		require.NoError(t, w.system.Shutdown(t.Context()))
		require.Zero(t, time.Since(begin))
		require.Error(t, <-waiter)
		require.True(t, w.vm.Status().State.NeedsStart())
	})
}

func TestShutdownAndForce(t *testing.T) {
	inWorld(t, system.BootEager, func(t *testing.T, w *world) {
		w.rig.Shutdown = lifecycletest.Wait(0) // accepted, never done
		require.NoError(t, w.system.Init(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := w.system.Shutdown(ctx)
		require.ErrorIs(t, err, domain.ErrTimeout)
		require.ErrorContains(t, err, "native")
		begin := time.Now()
		slow := make(chan error)
		go func() { slow <- w.system.Shutdown(context.Background()) }()
		w.settle()
		require.NoError(t, w.system.ShutdownForce(t.Context()))
		require.NoError(t, <-slow)
		require.Zero(t, time.Since(begin))
		require.ErrorIs(t, w.system.StartVM(t.Context(), domain.RoleNative), domain.ErrShuttingDown)
	})
}

func TestRoleWithoutAMachine(t *testing.T) {
	inWorld(t, system.BootOnDemand, func(t *testing.T, w *world) {
		require.ErrorIs(t, w.system.StartVM(t.Context(), domain.RoleRosetta), domain.ErrUnsupported)
		require.ErrorIs(t, w.system.StopVM(t.Context(), domain.RoleRosetta, true), domain.ErrUnsupported)
		st := w.system.VM(domain.RoleRosetta)
		require.Equal(t, domain.RosettaMachine, st.Machine)
		require.Equal(t, domain.StateNotExist, st.State)
	})
}

func TestNewRefusesBadOptions(t *testing.T) {
	_, err := system.New(system.Options{Boot: "later"}, system.Ports{})
	require.ErrorIs(t, err, domain.ErrInvalid)
	_, err = system.New(system.Options{Boot: system.BootEager}, system.Ports{})
	require.ErrorIs(t, err, domain.ErrInvalid)
}

func TestWatchersGetEveryUpdateOrAreTold(t *testing.T) {
	inWorld(t, system.BootOnDemand, func(t *testing.T, w *world) {
		update := func(i int) {
			w.system.AssetProgress(domain.AssetProgress{Phase: domain.AssetDownloading, Name: "dockerd", Current: i, Total: 2000})
		}
		update(-1)
		update(-1) // no change, no update
		w.settle()
		require.Len(t, w.updates, 2)
		proceed, slow := make(chan struct{}), make(chan error)
		go func() {
			slow <- w.system.WatchSetup(t.Context(), func(domain.SetupStatus) error { <-proceed; return nil })
		}()
		w.settle()
		for i := range 1000 {
			update(i)
			w.settle()
		}
		require.Len(t, w.updates, 1002)
		for i := range 1000 {
			update(i)
			w.settle()
		}
		require.Len(t, w.updates, 2002, "a watcher that keeps up loses nothing")
		close(proceed)
		require.ErrorIs(t, <-slow, domain.ErrUnavailable)
		stop := errors.New("stop")
		require.ErrorIs(t, w.system.WatchSetup(t.Context(), func(domain.SetupStatus) error { return stop }), stop)
	})
}
