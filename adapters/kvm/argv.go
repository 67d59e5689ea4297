package kvm

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"arcbox/domain"
)

// Arch is the processor architecture of host and guest, in Go's spelling.
type Arch string

// Architectures that machines can have.
const (
	ArchAMD64 Arch = "amd64"
	ArchARM64 Arch = "arm64"
)

// Vsock says how the machine's vsock device is attached. The zero value is none.
type Vsock struct {
	// CID is the guest's context id for the host kernel's device (vhost-vsock).
	CID uint32
	// FD is the descriptor of a vhost-user connection; it takes precedence.
	FD int
}

// Resources are what a machine gets of the host beside its plan. Descriptors
// are numbers in QEMU's process; 0 means that there is none.
type Resources struct {
	Arch        Arch
	Accelerator domain.Accelerator // KVM or TCG, never a wish
	MonitorFD   int                // stream socket for QMP
	ConsoleFD   int                // stream socket that takes the serial console
	NetFD       int                // listening socket, opened with O_PATH, of the network card
	SharesFD    int                // listening socket, opened with O_PATH, of the shared directories
	Vsock       Vsock
}

// hotPlugPorts is the number of slots for devices that come and go; the shared
// directories, with which a machine cannot be written to disk, are in the first.
const hotPlugPorts = 2

// shareQueue is the size of the queue of shared directories: the guest moves as
// many pages in one request, less a few for its header, up to 256.
const shareQueue = 1024

// Args returns QEMU's arguments for a plan. It is pure: the same plan and
// resources give the same arguments. The order of devices is the guest's order
// of PCI slots, so that the first disk is /dev/vda.
func Args(p domain.VMPlan, r Resources) []string {
	var a args
	a.add("-name", opts("guest=arcbox-"+escape(string(p.Name)), "debug-threads=on"))
	// Nothing that is not named here: no default devices, no configuration of
	// the host's, no display, and a guest that reboots is a machine that ended.
	a.add("-nodefaults")
	a.add("-no-user-config")
	a.add("-display", "none")
	a.add("-no-reboot")
	a.add("-machine", machineType(r.Arch))
	a.add("-accel", accelerator(r.Accelerator))
	a.add("-cpu", cpuModel(r.Arch, r.Accelerator))
	a.add("-smp", strconv.Itoa(p.CPUs))
	// vhost-user devices map the guest's memory, so it has to be shared.
	a.add("-m", fmt.Sprintf("%dM", p.Memory))
	a.add("-object", fmt.Sprintf("memory-backend-memfd,id=mem,size=%dM,share=on", p.Memory))
	if p.Kernel != "" {
		a.add("-kernel", p.Kernel)
		a.add("-append", p.Cmdline)
	}
	if r.MonitorFD != 0 {
		a.add("-chardev", fmt.Sprintf("socket,id=monitor,fd=%d", r.MonitorFD))
		a.add("-mon", "chardev=monitor,mode=control")
	}
	if r.ConsoleFD != 0 {
		a.add("-chardev", fmt.Sprintf("socket,id=console,fd=%d", r.ConsoleFD))
		a.add("-serial", "chardev:console")
	}
	for i, d := range p.Disks {
		a.add("-blockdev", blockdev(i, d))
		a.add("-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	if r.NetFD != 0 {
		// Given a descriptor of a connection, QEMU believes that it could not pass
		// descriptors on.
		a.add("-chardev", fmt.Sprintf("socket,id=net0,path=/proc/self/fd/%d", r.NetFD))
		a.add("-netdev", "vhost-user,id=net,chardev=net0,queues=1")
		a.add("-device", networkDevice(p, r.Accelerator))
	}
	switch {
	case r.Vsock.FD != 0:
		a.add("-chardev", fmt.Sprintf("socket,id=vsock,fd=%d", r.Vsock.FD))
		a.add("-device", "vhost-user-vsock-pci,chardev=vsock")
	case r.Vsock.CID != 0:
		a.add("-device", fmt.Sprintf("vhost-vsock-pci,guest-cid=%d", r.Vsock.CID))
	}
	a.add("-device", "virtio-balloon-pci,id=balloon,free-page-reporting=on,deflate-on-oom=on")
	a.add("-object", "rng-builtin,id=rng")
	a.add("-device", "virtio-rng-pci,rng=rng")
	for i := range hotPlugPorts {
		// No port I/O space behind the port: virtio does not need it, and the
		// firmware would otherwise hand out 4 KiB of 64 to each.
		a.add("-device", fmt.Sprintf("pcie-root-port,id=hotplug%d,chassis=%d,io-reserve=0", i, i+1))
	}
	if r.SharesFD != 0 {
		a.add("-chardev", fmt.Sprintf("socket,id=fs0,path=/proc/self/fd/%d", r.SharesFD))
		a.add("-device", shareDevice(r.Accelerator))
	}
	// The machine waits for "cont", so that no event of its is missed before the
	// monitor listens.
	a.add("-S")
	return a
}

type args []string

func (a *args) add(words ...string) { *a = append(*a, words...) }

func opts(o ...string) string { return strings.Join(o, ",") }

// escape makes s one value of a QEMU option list, where a comma ends a value
// unless it is doubled.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

func machineType(arch Arch) string {
	if arch == ArchARM64 {
		return "virt,gic-version=max,memory-backend=mem"
	}
	// PIT and HPET differ: without a PIT an emulated guest has nothing to
	// calibrate its clock with and panics; the HPET is never needed. "graphics" stays:
	// without it the firmware writes to the serial console, and the first byte
	// there would no longer be the kernel's.
	return "q35,memory-backend=mem,hpet=off,smm=off,i8042=off,sata=off,smbus=off,usb=off,vmport=off"
}

func accelerator(a domain.Accelerator) string {
	if a == domain.AcceleratorKVM {
		return "kvm"
	}
	return "tcg,thread=multi"
}

func cpuModel(arch Arch, a domain.Accelerator) string {
	switch {
	case a == domain.AcceleratorKVM:
		return "host"
	case arch == ArchARM64:
		// The architected pointer authentication algorithm is very slow to emulate.
		return "max,pauth-impdef=on"
	default:
		// Kernels that see fast string moves copy by them, and each is a slow
		// loop when emulated.
		return "max,erms=off,fsrm=off"
	}
}

func blockdev(i int, d domain.Disk) string {
	o := []string{
		"driver=raw",
		fmt.Sprintf("node-name=disk%d", i),
		"read-only=" + onOff(d.ReadOnly),
		// The host's page cache is on: it outlives a crash of QEMU, and what the
		// guest flushes is flushed.
		"cache.direct=off",
	}
	if d.Discard {
		o = append(o, "discard=unmap", "detect-zeroes=unmap")
	}
	return opts(append(o,
		"file.driver=file",
		"file.aio=threads",
		"file.filename="+escape(d.Path),
	)...)
}

func shareDevice(a domain.Accelerator) string {
	o := []string{
		"vhost-user-fs-pci", "id=fs", "bus=hotplug0", "chardev=fs0",
		"tag=" + domain.ShareTag, fmt.Sprintf("queue-size=%d", shareQueue),
	}
	if a != domain.AcceleratorKVM {
		o = append(o, "vectors=0") // as for the network card
	}
	return opts(o...)
}

func networkDevice(p domain.VMPlan, a domain.Accelerator) string {
	// The card learns what the driver takes when that starts, not what it changes
	// later.
	o := []string{"virtio-net-pci", "netdev=net", "mac=" + net.HardwareAddr(p.MAC[:]).String(), "ctrl_guest_offloads=off"}
	if p.MTU != 0 {
		o = append(o, fmt.Sprintf("host_mtu=%d", p.MTU))
	}
	if a != domain.AcceleratorKVM {
		// QEMU 7.2 uses the irqfds of the vectors of a vhost-user network card, which
		// an emulated machine does not have, and crashes.
		o = append(o, "vectors=0")
	}
	// No boot over the network: an empty romfile loads none.
	return opts(append(o, "romfile=")...)
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
