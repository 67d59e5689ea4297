//go:build linux

package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Setting is one kernel setting.
type Setting struct {
	Key, Value string
	// Optional settings may be missing from the kernel.
	Optional bool
}

// PortBand is a range of ports, both ends included.
type PortBand struct{ First, Last uint16 }

// Has reports whether p lies in the band.
func (b PortBand) Has(p uint16) bool { return b.First <= p && p <= b.Last }

// String is the band as the kernel writes it.
func (b PortBand) String() string { return fmt.Sprintf("%d %d", b.First, b.Last) }

// EphemeralPorts is what the guest's own network hands out to those who do not
// ask for a certain port.
func EphemeralPorts() PortBand { return PortBand{61000, 65535} }

// Settings are the kernel settings of the guest, in the order of writing.
func Settings() []Setting {
	return []Setting{
		// dockerd's nftables backend refuses to make bridges without these.
		{Key: "net.ipv4.ip_forward", Value: "1"},
		{Key: "net.ipv6.conf.default.forwarding", Value: "1", Optional: true},
		{Key: "net.ipv6.conf.all.forwarding", Value: "1", Optional: true},
		// A publish on one of the host's own addresses is bound in the guest too.
		{Key: "net.ipv4.ip_nonlocal_bind", Value: "1"},
		{Key: "net.ipv6.ip_nonlocal_bind", Value: "1", Optional: true},
		// dockerd picks published ports from this band, and the host must be able
		// to bind the same ones, for nobody tries another: it is above what Linux
		// hands out (32768 to 60999), and few services are up there. Containers
		// have their own network and its own band. Nothing of the guest listens in
		// it, so there are no ports to reserve.
		{Key: "net.ipv4.ip_local_port_range", Value: EphemeralPorts().String()},
		// Addresses are given by the host; nobody else may have them, nothing
		// has to be waited for.
		{Key: "net.ipv6.conf.default.accept_dad", Value: "0", Optional: true},
		{Key: "net.ipv6.conf.all.accept_dad", Value: "0", Optional: true},
		{Key: "net.ipv6.conf.default.accept_ra", Value: "0", Optional: true},
		{Key: "net.ipv4.ping_group_range", Value: "0 2147483647"},
		{Key: "net.core.somaxconn", Value: "4096"},
		// Development servers watch whole source trees, in many containers at once.
		{Key: "fs.inotify.max_user_watches", Value: "1048576"},
		{Key: "fs.inotify.max_user_instances", Value: "8192"},
		{Key: "fs.inotify.max_queued_events", Value: "65536"},
		{Key: "vm.max_map_count", Value: "1048576"}, // search engines refuse to start with less
		{Key: "kernel.pid_max", Value: "4194304"},
		{Key: "kernel.keys.maxkeys", Value: "20000", Optional: true}, // a keyring per container
		{Key: "net.bridge.bridge-nf-call-iptables", Value: "1", Optional: true},
		{Key: "net.bridge.bridge-nf-call-ip6tables", Value: "1", Optional: true},
	}
}

// Apply writes settings below root, "/proc/sys" in the guest. It goes on after
// a failure.
func Apply(root string, settings []Setting) error {
	var problems []error
	for _, s := range settings {
		path := filepath.Join(root, strings.ReplaceAll(s.Key, ".", "/"))
		err := writeExisting(path, s.Value)
		if err != nil && !(s.Optional && errors.Is(err, fs.ErrNotExist)) {
			problems = append(problems, fmt.Errorf("kernel setting %s=%s: %w", s.Key, s.Value, err))
		}
	}
	return errors.Join(problems...)
}

func writeExisting(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value + "\n")
	return errors.Join(err, f.Close())
}

// openFiles is the limit that the agent and everything it starts have.
const openFiles = 1 << 20

// RaiseLimits raises the limits that children inherit, and keeps the agent
// from being chosen when memory runs out.
func RaiseLimits() error {
	err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: openFiles, Max: openFiles})
	if err != nil {
		err = fmt.Errorf("raise the limit of open files: %w", err)
	}
	return errors.Join(err,
		unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}),
		writeExisting("/proc/self/oom_score_adj", "-900"))
}
