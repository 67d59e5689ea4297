package bootstrap

import (
	"log/slog"

	"go.uber.org/fx"

	"arcbox/adapters/docker"
	grpcapi "arcbox/adapters/grpc"
	"arcbox/application/containers"
	"arcbox/application/port"
	"arcbox/domain"
)

// newForwards makes the table of ports of the host that lead to containers.
func newForwards(c Config, ev port.EventPublisher, log *slog.Logger) *containers.Forwards {
	_, _, guest6 := domain.GuestIPv6()
	return containers.NewForwards(containers.ForwardOptions{Guest4: c.Network.guest(), Guest6: guest6}, ev, log)
}

func newContainerWatcher(log *slog.Logger) port.ContainerWatcher { return docker.NewWatcher(log) }

// newContainerNetwork serves every run of the machines to its end: the daemon's
// stop begins with shutting them down. It is over before the actor is, so no
// port of the host outlives what it leads to.
func newContainerNetwork(lc fx.Lifecycle, e *containers.Engines, f *containers.Forwards, n *containers.Names, watches *containers.Watches, sockets *containers.Sockets, w port.ContainerWatcher, log *slog.Logger) *containers.Network {
	network := containers.NewNetwork(containers.NetworkParts{Engines: e, Forwards: f, Names: n, Watches: watches, Sockets: sockets, Watcher: w, Log: log})
	lc.Append(background(network.Run, nil))
	return network
}

func newPortService(f port.Forwards) grpcapi.Service {
	return grpcapi.NewPortService(f)
}
