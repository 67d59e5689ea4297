package bootstrap

import (
	"log/slog"
	"path/filepath"

	"go.uber.org/fx"

	"arcbox/adapters/kvm"
	"arcbox/adapters/netfwd/usernet"
	"arcbox/adapters/share"
	"arcbox/adapters/vsock"
	"arcbox/application/port"
	"arcbox/domain"
)

// hasRosettaRole says whether this host can have a virtual machine for RoleRosetta.
const hasRosettaRole = false

// framing is how this host's hypervisor wants Ethernet frames on its socket.
const framing = usernet.VhostUser

var hypervisorModule = fx.Module("hypervisor",
	fx.Provide(
		func(c Config, log *slog.Logger) (*share.Shares, error) {
			return share.New(share.Options{DataDir: c.DataDir, Cache: share.DefaultCache(), Log: log})
		},
		func(s *share.Shares) (port.Shares, port.GuestWrites) { return s, s },
		func(log *slog.Logger) port.VsockDevices { return vsock.New(log) },
		func(c Config, v port.VsockDevices, log *slog.Logger) port.Hypervisor {
			return kvm.New(kvm.Options{
				Accelerator: domain.Accelerator(c.VM.Accelerator),
				VerdictFile: filepath.Join(c.paths().RunDir(), "accelerator.json"),
			}, v, log)
		},
	),
)
