package bootstrap

import (
	"log/slog"
	"runtime"

	"go.uber.org/fx"

	"arcbox/adapters/vz"
	"arcbox/application/port"
	"arcbox/domain"
)

// hasRosettaRole says whether this host can have a virtual machine for RoleRosetta.
const hasRosettaRole = runtime.GOARCH == "arm64"

var hypervisorModule = fx.Module("hypervisor",
	fx.Provide(func(log *slog.Logger) port.Hypervisor {
		return vz.New(vz.Options{
			Rosetta: func(m domain.MachineName) bool { return hasRosettaRole && m == domain.RosettaMachine },
		}, log)
	}),
)
