package lifecycle

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// Options is what a machine should be. It does not change after New.
type Options struct {
	Machine  domain.MachineName
	CPUs     int
	Memory   domain.MiB
	Disk     domain.GiB // least size of the data disk
	DataDisk string     // host path of the data disk's image
	// Kernel and Cmdline replace those of the asset set when they are not empty.
	Kernel  string
	Cmdline string
	// DockerPort is the guest's vsock port of the Docker API.
	DockerPort  uint32
	Network     GuestNetwork
	Accelerator domain.Accelerator
	// TCGFactor stretches every budget where the guest's code is emulated.
	TCGFactor int
	// IdleMemory is how much memory an idle machine keeps; 0 leaves it alone.
	IdleMemory domain.MiB
	Timing     Timing
}

// GuestNetwork is what the guest is told of its network on the kernel command
// line. An invalid (zero) address leaves its token out.
type GuestNetwork struct {
	Address  netip.Prefix // 10.0.2.2/24
	Gateway  netip.Addr
	Address6 netip.Prefix
	Gateway6 netip.Addr
	MTU      int // bytes; 0 leaves it out
}

// Timing holds the limits of a lifecycle, made for hardware virtualization.
type Timing struct {
	// Prepare bounds what comes before a boot: downloads and disks.
	Prepare time.Duration
	// Startup bounds a boot with its retries.
	Startup time.Duration
	Retries domain.RetrySchedule
	// StopGrace is how long the guest's services get to end.
	StopGrace time.Duration
	// StopCall bounds asking the guest to stop.
	StopCall time.Duration
	// Kill bounds taking the machine down by force.
	Kill time.Duration
	// Post is how long a machine whose agent is gone gets to end by itself, so
	// that a power-off is told from a crash.
	Post time.Duration
	// Silence is how long a guest may give no sign of life.
	Silence time.Duration
	// Idle is how long nobody must have used the machine before it idles, Stop
	// how long it idles before it is stopped; 0 is never.
	Idle, Stop time.Duration
}

// DefaultTiming returns the limits of the design.
func DefaultTiming() Timing {
	return Timing{
		Prepare:   30 * time.Minute,
		Startup:   90 * time.Second,
		Retries:   domain.BootRetries(),
		StopGrace: 25 * time.Second,
		StopCall:  5 * time.Second,
		Kill:      10 * time.Second,
		Post:      3 * time.Second,
		Silence:   3 * domain.AgentHeartbeat,
		Idle:      5 * time.Minute,
		Stop:      10 * time.Minute,
	}
}

// Ports is what a lifecycle needs from the world. All but Shares are required.
type Ports struct {
	Assets     port.BootAssets
	Store      port.MachineStore
	Disks      port.Disks
	Networks   port.Networks
	HostConfig port.HostConfig
	Hypervisor port.Hypervisor
	// Shares is nil where the hypervisor serves shared directories itself.
	Shares port.Shares
	Agents port.Agents
	Logs   port.LogFiles
	Events port.EventPublisher
	Log    *slog.Logger
}

func (o Options) check() error {
	if _, err := domain.ParseMachineName(string(o.Machine)); err != nil {
		return err
	}
	t := o.Timing
	switch {
	case o.CPUs < 1:
		return fmt.Errorf("machine %q needs at least one processor, not %d: %w", o.Machine, o.CPUs, domain.ErrInvalid)
	case o.Memory == 0:
		return fmt.Errorf("machine %q needs memory: %w", o.Machine, domain.ErrInvalid)
	case o.Disk == 0 || o.DataDisk == "":
		return fmt.Errorf("machine %q needs a data disk: %w", o.Machine, domain.ErrInvalid)
	case t.Prepare <= 0 || t.Startup <= 0 || t.StopGrace <= 0 || t.StopCall <= 0 || t.Kill <= 0 || t.Post <= 0 || t.Silence <= 0 || t.Retries.Tries < 1:
		return fmt.Errorf("machine %q has a time limit that is not positive: %w", o.Machine, domain.ErrInvalid)
	case t.Idle < 0 || t.Stop < 0:
		return fmt.Errorf("machine %q has a negative idle or stop time: %w", o.Machine, domain.ErrInvalid)
	}
	return nil
}

// budget stretches a time limit for how the machine runs.
func (o Options) budget(d time.Duration, info domain.HypervisorInfo) time.Duration {
	return domain.Budget(d, info.Accelerator, o.TCGFactor)
}
