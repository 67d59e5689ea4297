package vz

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"arcbox/domain"
)

// Limits of a plan that the framework's own do not cover.
const (
	maxDisks = 16
	// The framework takes an MTU between these and refuses the whole
	// configuration otherwise
	// (VZFileHandleNetworkDeviceAttachment.maximumTransmissionUnit).
	minMTU = 1500
	maxMTU = 65535
)

// Sizes, bytes, of the buffers of the hypervisor's end of the network's socket.
// The framework wants at least twice, and recommends four times as much for
// receiving as for sending. On macOS the send buffer is also the largest
// datagram; its default is 2 KiB, less than a jumbo frame.
const (
	sendBuffer    = 1 << 20
	receiveBuffer = 4 << 20
)

// rosettaTag is the name by which the guest mounts the directory with Rosetta.
const rosettaTag = "rosetta"

// CachingMode says whether the host caches what a disk's file holds.
type CachingMode string

// SyncMode says what a flush of the guest does to a disk's file.
type SyncMode string

// The modes in use. Left to itself, the framework chooses a caching mode that has
// damaged file systems of Linux guests on Apple silicon, so it is always given.
// A flush is fsync(2): what the guest flushed outlives a crash of the machine or of the
// daemon. The drive's own cache is not flushed (F_FULLFSYNC), which costs
// milliseconds each time, and which other programs do not do on macOS either.
const (
	CachingCached CachingMode = "cached"
	SyncFsync     SyncMode    = "fsync"
)

// Limits are what the framework allows a machine on this host. A zero is no limit.
type Limits struct {
	MinCPUs, MaxCPUs     int
	MinMemory, MaxMemory domain.MiB
}

// Attachments says what a machine gets beside its plan.
type Attachments struct {
	// Link says that there is a network link for the machine's interface.
	Link bool
	// Rosetta asks for the directory share that translates amd64 programs.
	Rosetta bool
}

// Configuration is a virtual machine in the terms of the framework.
type Configuration struct {
	Kernel  string // host path
	Cmdline string
	CPUs    int
	Memory  domain.MiB
	// Disks are the guest's /dev/vda, /dev/vdb, and so on.
	Disks   []Disk
	Network *Network // nil for none
	// Vsock, Entropy and Balloon say that the machine has the device.
	Vsock, Entropy, Balloon bool
	// Console is the host file for the serial port, the guest's /dev/hvc0; empty for none.
	Console string
	// Shares is the one file system with the plan's shares, nil for none.
	Shares *SharedTree
	// Rosetta is the tag of the share with Rosetta, empty for none.
	Rosetta string
	// Identifier is the machine's own, in the framework's form; empty for a new one. A
	// saved state can only go on in a machine with the identifier that it had.
	Identifier []byte `json:",omitempty"`
}

// Disk is a raw image as a virtio block device.
type Disk struct {
	Path     string
	ReadOnly bool
	Caching  CachingMode
	Sync     SyncMode
}

// SharedTree is a virtio file system whose root holds a directory for each share.
type SharedTree struct {
	Tag         string // what the guest mounts it by
	Directories []SharedDirectory
}

// SharedDirectory is a directory of the host in the root of a SharedTree.
type SharedDirectory struct {
	Name     string // in the root
	Path     string // on the host
	ReadOnly bool   // refused by the host, whatever the guest's mount says
}

// Network is a virtio network interface on one end of a pair of connected
// datagram sockets, one Ethernet frame a datagram.
type Network struct {
	MAC string // 02:00:5e:00:53:01
	MTU int    // 0 for the framework's default, 1500
	// SendBuffer and ReceiveBuffer are set on the hypervisor's end, bytes.
	SendBuffer, ReceiveBuffer int
}

// Configure says how the framework runs a plan. It is pure. Processors and memory are
// brought within the limits: a plan is made for a size, not for a host. Discard is
// not passed on, the framework has no setting for it.
//
// Errors: domain.ErrInvalid for a plan that no machine can have.
func Configure(p domain.VMPlan, a Attachments, l Limits) (Configuration, error) {
	if err := checkPlan(p, a.Link); err != nil {
		return Configuration{}, err
	}
	c := Configuration{
		Kernel:  p.Kernel,
		Cmdline: consoleOnHVC(p.Cmdline),
		CPUs:    clamp(p.CPUs, l.MinCPUs, l.MaxCPUs),
		Memory:  clamp(p.Memory, l.MinMemory, l.MaxMemory),
		Vsock:   true,
		Entropy: true,
		Balloon: true,
		Console: p.ConsoleLog,
	}
	for _, d := range p.Disks {
		c.Disks = append(c.Disks, Disk{Path: d.Path, ReadOnly: d.ReadOnly, Caching: CachingCached, Sync: SyncFsync})
	}
	if a.Link {
		c.Network = &Network{MAC: net.HardwareAddr(p.MAC[:]).String(), MTU: p.MTU, SendBuffer: sendBuffer, ReceiveBuffer: receiveBuffer}
	}
	c.Shares = sharedTree(p.Shares)
	if a.Rosetta {
		c.Rosetta = rosettaTag
	}
	return c, nil
}

// sharedTree lays the shares out as domain.ShareTag says.
func sharedTree(shares []domain.Share) *SharedTree {
	if len(shares) == 0 {
		return nil
	}
	t := &SharedTree{Tag: domain.ShareTag}
	for i, s := range shares {
		t.Directories = append(t.Directories, SharedDirectory{Name: strconv.Itoa(i), Path: s.Path, ReadOnly: s.ReadOnly})
	}
	return t
}

// clamp brings v within the limits that are not zero. The upper one wins.
func clamp[T int | domain.MiB](v, low, high T) T {
	v = max(v, low)
	if high > 0 {
		v = min(v, high)
	}
	return v
}

func checkPlan(p domain.VMPlan, withLink bool) error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("plan of machine %q: %s: %w", p.Name, fmt.Sprintf(format, a...), domain.ErrInvalid)
	}
	if _, err := domain.ParseMachineName(string(p.Name)); err != nil {
		return err
	}
	switch {
	case p.CPUs < 1:
		return bad("%d processors, want at least 1", p.CPUs)
	case p.Memory < 1 || p.Memory > 1<<40:
		return bad("memory of %d MiB", p.Memory)
	case p.Kernel == "":
		return bad("no kernel")
	case len(p.Disks) > maxDisks:
		return bad("%d disks, want at most %d", len(p.Disks), maxDisks)
	case len(p.Shares) > domain.MaxShares:
		return bad("%d shares, want at most %d", len(p.Shares), domain.MaxShares)
	}
	texts := []string{p.Kernel, p.Cmdline, p.ConsoleLog}
	for i, d := range p.Disks {
		if d.Path == "" {
			return bad("disk %d has no path", i)
		}
		texts = append(texts, d.Path)
	}
	for i, s := range p.Shares {
		if !filepath.IsAbs(s.Path) {
			return bad("share %d is %q, want an absolute path", i, s.Path)
		}
		texts = append(texts, s.Path)
	}
	for _, s := range texts {
		switch {
		case strings.ContainsRune(s, 0): // the library would cut it there
			return bad("%q has a zero byte", s)
		case !utf8.ValidString(s): // Foundation has no string for it, and would end the program
			return bad("%q is not UTF-8", s)
		}
	}
	if withLink {
		switch {
		case p.MTU != 0 && (p.MTU < minMTU || p.MTU > maxMTU):
			return bad("MTU %d, want %d to %d", p.MTU, minMTU, maxMTU)
		case p.MAC == [6]byte{} || p.MAC[0]&1 != 0:
			return bad("MAC address %x is not one of an interface", p.MAC)
		}
	}
	switch p.Accelerator {
	case "", domain.AcceleratorAuto, domain.AcceleratorHVF:
		return nil
	default:
		return bad("accelerator %q, want auto or hvf on macOS", p.Accelerator)
	}
}
