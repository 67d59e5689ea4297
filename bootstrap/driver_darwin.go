package bootstrap

import (
	"log/slog"

	"go.uber.org/fx"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/adapters/vz"
	"arcbox/application/port"
	"arcbox/domain"
)

// hasRosettaRole says whether this host can have a virtual machine for
// RoleRosetta. The machine of that role is not wired yet: its guest has nothing
// that registers the translator.
const hasRosettaRole = false

// framing is how this host's hypervisor wants Ethernet frames on its socket.
const framing = usernet.Datagram

var hypervisorModule = fx.Module("hypervisor",
	fx.Provide(
		func(log *slog.Logger) port.Hypervisor {
			return vz.New(vz.Options{Rosetta: func(m domain.MachineName) bool { return m == domain.RosettaMachine }}, log)
		},
		// The hypervisor serves shared directories itself, and nobody knows what a
		// guest wrote.
		func() (port.Shares, port.GuestWrites) { return nil, nil },
	),
)
