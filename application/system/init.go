package system

import (
	"context"
	"errors"
	"fmt"

	"arcbox/domain"
)

// Init brings the daemon up, and returns when it is ready, degraded or failed.
// Missing or broken assets fail it (the error is returned; the daemon ends). A
// machine or engine that does not come up only degrades it: the daemon stays,
// shows why, and the next request tries again. When ctx ends, Init returns domain.ErrCanceled soon and leaves
// no machine running. It is called once.
func (s *System) Init(ctx context.Context) error {
	s.phase(domain.PhaseInitializing, "starting")
	err := s.init(ctx)
	if err == nil {
		return nil
	}
	s.abort(ctx)
	if ctx.Err() != nil {
		err = fmt.Errorf("the start was interrupted: %w: %w", domain.ErrCanceled, context.Cause(ctx))
	}
	s.Fail(err)
	return err
}

func (s *System) init(ctx context.Context) error {
	if err := s.assets(ctx); err != nil {
		return err
	}
	s.phase(domain.PhaseAssetsReady, "everything to boot from is there")
	var degraded error
	if s.options.Boot == BootEager {
		degraded = s.boot(ctx)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.network()
	if s.options.Boot == BootEager && degraded == nil {
		degraded = s.engine(ctx)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.ready(degraded)
	return nil
}

func (s *System) assets(ctx context.Context) error {
	if _, err := s.ports.Assets.Resolve(ctx); err != nil {
		return fmt.Errorf("getting the boot assets: %w", err)
	}
	return ctx.Err()
}

// AssetProgress tells the system how far the assets are. Only a download is a
// phase of its own: most starts have nothing to fetch.
func (s *System) AssetProgress(p domain.AssetProgress) {
	if p.Phase != domain.AssetDownloading {
		return
	}
	s.setup.update(func(st *domain.SetupStatus) {
		if st.Phase == domain.PhaseInitializing || st.Phase == domain.PhaseDownloadingAssets {
			st.Phase = domain.PhaseDownloadingAssets
			st.Message = fmt.Sprintf("downloading %s (%d of %d)", p.Name, p.Current, p.Total)
		}
	})
}

func (s *System) boot(ctx context.Context) error {
	s.phase(domain.PhaseVMStarting, "starting the virtual machine")
	if _, err := s.ports.Machines[domain.RoleNative].EnsureReady(ctx); err != nil {
		s.log.Error("the virtual machine did not start; the next request tries again", "error", err)
		return err
	}
	s.phase(domain.PhaseVMReady, "the virtual machine is up")
	return ctx.Err()
}

func (s *System) network() {
	message := "the host's services are open"
	if s.ports.Network != nil {
		if err := s.ports.Network(); err != nil {
			message = "not all of the host's services are open: " + err.Error()
		}
	}
	s.phase(domain.PhaseNetworkReady, message)
}

func (s *System) engine(ctx context.Context) error {
	_, err := s.ports.Engines.EnsureReady(ctx, domain.RoleNative)
	if err != nil {
		s.log.Error("the Docker engine did not come up; the next request tries again", "error", err)
	}
	return err
}

func (s *System) ready(degraded error) {
	if degraded == nil {
		s.log.Info("start", "phase", domain.PhaseReady.String())
	} else {
		s.log.Warn("start", "phase", domain.PhaseDegraded.String(), "error", degraded)
	}
	s.setup.update(func(st *domain.SetupStatus) {
		st.Phase, st.Message, st.Error = domain.PhaseReady, "ready", ""
		if degraded != nil {
			st.Phase, st.Message, st.Error = domain.PhaseDegraded, "ready, but the virtual machine is not", degraded.Error()
		}
	})
}

// abort takes down what the start had begun.
func (s *System) abort(ctx context.Context) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.AbortTimeout)
	defer cancel()
	if err := s.ShutdownForce(bounded); err != nil {
		s.log.Error("a virtual machine of the interrupted start may still run", "error", err)
	}
}

// Fail ends the start: err happened outside of Init, or was returned by it.
func (s *System) Fail(err error) {
	text := err.Error()
	if hint := domain.Hint(err); hint != "" && !errors.Is(err, domain.ErrCanceled) {
		text += " (" + hint + ")"
	}
	s.setup.update(func(st *domain.SetupStatus) {
		st.Phase, st.Message, st.Error = domain.PhaseFailed, "the start failed", text
	})
}

func (s *System) phase(p domain.SetupPhase, message string) {
	s.log.Info("start", "phase", p.String())
	s.setup.update(func(st *domain.SetupStatus) { st.Phase, st.Message, st.Error = p, message, "" })
}
