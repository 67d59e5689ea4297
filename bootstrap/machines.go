package bootstrap

import (
	"net/netip"

	grpcapi "arcbox/adapters/grpc"
	"arcbox/application/port"
	"arcbox/domain"
)

func newMachineService(c Config, s port.System, records port.MachineStore) grpcapi.Service {
	_, _, guest6 := domain.GuestIPv6()
	return grpcapi.NewMachineService(s, records, grpcapi.MachineNetwork{
		Guest: []netip.Addr{c.Network.guest(), guest6}, Gateway: c.Network.gateway()})
}
