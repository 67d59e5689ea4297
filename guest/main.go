//go:build linux

package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"arcbox/domain"
	"arcbox/guest/boot"
	"arcbox/guest/clock"
	"arcbox/guest/cmdline"
	"arcbox/guest/configure"
	"arcbox/guest/disk"
	"arcbox/guest/engine"
	"arcbox/guest/firewall"
	"arcbox/guest/logring"
	"arcbox/guest/reap"
	"arcbox/guest/supervisor"
	"arcbox/guest/touch"
)

const (
	// dataTarget is where the data disk's file system is mounted.
	dataTarget = "/run/arcbox/data"
	// offersFile keeps which sockets of the host containers use.
	offersFile = dataTarget + "/arcbox/host-sockets.json"
	// socketDir has these sockets.
	socketDir = "/run/arcbox/sockets"
)

// Main is the agent as process 1. It returns only when the machine could not
// be switched off.
func Main(version, build string) error {
	console := &console{out: os.Stderr}
	console.milestone("agent " + version + " starts")
	logs := logring.New()
	log := slog.New(newHandler(logs.Writer("agent"), console))
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT, unix.SIGPWR)
	defer stop()

	children := reap.New()
	background, endBackground := context.WithCancel(context.WithoutCancel(ctx))
	var owned sync.WaitGroup
	owned.Go(func() { children.Reap(background) })

	config, bootErr := prepareMachine(log)
	console.milestone("machine prepared")

	owned.Go(func() { // beside the start of the services, which take longer
		if err := firewall.Apply(background, children.Run, firewall.Ruleset(boot.Uplink, given(config.IP, config.IP6))); err != nil {
			log.Error("containers are not open to the host", "error", err)
		}
	})

	kernelClock := clock.New(clock.Kernel{})
	if err := kernelClock.Guard(); err != nil {
		log.Error("clock", "error", err)
	}
	data := disk.Disk{Device: config.DataDevice, Target: dataTarget}
	host := configure.New(configure.Config{Dir: configure.SharesDir, Mounts: configure.Kernel{}, Log: log})
	agent := New(Config{
		Hello:        hello(version, build),
		Listen:       listenVsock,
		DockerPort:   config.DockerPort,
		DockerSocket: engine.DockerSocket, PublishSocket: engine.PublishSocket,
		SocketDir: socketDir, OffersFile: offersFile,
		PrepareDisk: func(ctx context.Context) error {
			return data.Prepare(ctx, disk.Kernel{Execute: children.Run}, log)
		},
		DiskUsage: data.Usage,
		TrimDisk:  data.Trim,
		Host:      host, TouchAs: touch.Nobody,
		Services: func(setEngine func(engine.Version)) []supervisor.Spec {
			return EngineServices(host, setEngine)
		},
		Pause:     supervisor.DefaultPause(),
		Starter:   children,
		Clock:     kernelClock,
		Logs:      logs,
		Log:       log,
		Milestone: console.milestone,
	})
	agent.SetService(bootStatus(bootErr))
	if err := agent.Run(ctx); err != nil {
		log.Error("agent ended", "error", err)
	}
	boot.EndProcesses()
	if err := host.Unmount(); err != nil {
		log.Error("shares not unmounted", "error", err)
	}
	if err := boot.Unmount(data.Mounts()...); err != nil {
		log.Error("data disk not unmounted", "error", err)
	}
	endBackground()
	owned.Wait()
	console.milestone("power off")
	return fmt.Errorf("switch the machine off: %w", boot.PowerOff())
}

// prepareMachine does what has to be done before anything else runs. Nothing
// of it keeps the agent from running: the host is told what went wrong.
func prepareMachine(log *slog.Logger) (cmdline.Config, error) {
	// A program finds others by the PATH of the process that starts it.
	err := errors.Join(os.Setenv("PATH", engine.Path), boot.RaiseLimits(), boot.WritableRoot(), boot.MountAll(), boot.ShareMounts())
	line, readErr := os.ReadFile("/proc/cmdline")
	config, parseErr := cmdline.Parse(string(line))
	for _, key := range config.UnknownKeys {
		log.Warn("kernel command line: unknown key", "key", key)
	}
	err = errors.Join(err, readErr, parseErr,
		boot.Apply("/proc/sys", boot.Settings()),
		boot.ConfigureNetwork(config),
		boot.WriteNames(config),
		engine.WriteConfig("", engine.Network{MTU: config.MTU, DNS: ipv4First(config.DNS), Gateway: given(config.Gateway, config.Gateway6)}),
		engine.Check(engine.BinDir),
	)
	if err != nil {
		log.Error("machine not prepared as it should be", "error", err)
	}
	return config, err
}

// given returns those that the kernel's command line had.
func given[T interface{ IsValid() bool }](all ...T) []T {
	return slices.DeleteFunc(all, func(v T) bool { return !v.IsValid() })
}

func bootStatus(err error) domain.ServiceStatus {
	if err != nil {
		return domain.ServiceStatus{Name: "boot", State: domain.ServiceFailed, Detail: err.Error()}
	}
	return domain.ServiceStatus{Name: "boot", State: domain.ServiceReady}
}

// ipv4First leaves out IPv6 resolvers where there are others: most containers
// have no IPv6 to reach them by.
func ipv4First(servers []netip.Addr) []netip.Addr {
	var v4 []netip.Addr
	for _, s := range servers {
		if s.Is4() {
			v4 = append(v4, s)
		}
	}
	if len(v4) > 0 {
		return v4
	}
	return servers
}

func hello(version, build string) domain.AgentHello {
	h := domain.AgentHello{Protocol: domain.AgentProtocol, Version: version, Build: build}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		h.BootID = strings.TrimSpace(string(id))
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return h
}
