package bootstrap

import (
	"log/slog"
	"net/netip"
	"time"

	"arcbox/adapters/netfwd"
	"arcbox/application/lifecycle"
	"arcbox/application/port"
	"arcbox/domain"
)

// gateway and guest are the first two addresses of the network.
func (n NetworkConfig) gateway() netip.Addr { return n.prefix().Addr().Next() }
func (n NetworkConfig) guest() netip.Addr   { return n.gateway().Next() }
func (n NetworkConfig) prefix() netip.Prefix {
	return netip.MustParsePrefix(n.Subnet) // checked by resolve
}

// lifecycleOptions says what the default machine is, from the configuration.
func lifecycleOptions(c Config) lifecycle.Options {
	subnet6, gateway6, guest6 := domain.GuestIPv6()
	timing := lifecycle.DefaultTiming()
	timing.Startup, timing.Idle, timing.Stop = c.VM.StartupTimeout, c.VM.IdleTimeout, c.VM.StopTimeout
	return lifecycle.Options{
		Machine:     domain.DefaultMachine,
		CPUs:        c.VM.CPUs,
		Memory:      domain.MiB(c.VM.MemoryMB),
		Disk:        domain.GiB(c.VM.DiskGB),
		DataDisk:    c.dataImage(domain.RoleNative.DataImage()),
		Kernel:      c.VM.KernelPath,
		DockerPort:  c.Container.GuestDockerVsockPort,
		Accelerator: domain.Accelerator(c.VM.Accelerator),
		TCGFactor:   c.VM.TCGTimeFactor,
		Network: lifecycle.GuestNetwork{
			Address:  netip.PrefixFrom(c.Network.guest(), c.Network.prefix().Bits()),
			Gateway:  c.Network.gateway(),
			Address6: netip.PrefixFrom(guest6, subnet6.Bits()),
			Gateway6: gateway6,
			MTU:      c.Network.MTU,
		},
		Timing: timing,
	}
}

// networkOptions says what the guest's network is, from the configuration.
func networkOptions(c Config, names port.Resolver, log *slog.Logger) netfwd.Options {
	return netfwd.Options{Subnet: c.Network.prefix(), Gateway: c.Network.gateway(), Guest: c.Network.guest(),
		MTU: c.Network.MTU, Framing: framing, Resolver: names, Attach: attachHost(log), Log: log}
}

func (c ContainerConfig) startupTimeout() time.Duration {
	return time.Duration(c.StartupTimeoutMS) * time.Millisecond
}
