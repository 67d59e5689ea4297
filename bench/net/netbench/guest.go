//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"arcbox/adapters/kvm"
	"arcbox/domain"
)

// guestPort is where guestpeer listens in every guest and container.
const guestPort = 7

// target is one way into a guest.
type target struct {
	name string
	addr string     // what the client connects to
	ns   *namespace // where it does so
	// network is the process that carries the traffic beside QEMU, 0 for none.
	network, qemu int
	stops         []func()
}

// stop ends what was started for the target, the last first.
func (t *target) stop() {
	for _, f := range slices.Backward(t.stops) {
		f()
	}
}

func (t *target) atStop(f func()) { t.stops = append(t.stops, f) }

// guestNet is the network of a peer's guest.
type guestNet struct {
	netdev string // QEMU's -netdev, with id=net; "" is a card over vhost-user on descriptor 3
	// wrap is a command line that QEMU's is appended to; it gives it descriptor 3.
	wrap        []string
	mac         [6]byte
	ip, gateway string // ip with its prefix length
	mtu         int    // 0: the default, 1500
	sshd        bool
}

// machine is what every guest has in common with ArcBox's.
type machine struct {
	program     string // QEMU
	kernel      string
	accelerator domain.Accelerator
	cpus        int
}

const (
	peerMemory = domain.MiB(1024)
	bootLimit  = 2 * time.Minute
)

// boot starts a peer's guest and waits until it answers. The machine is the one
// that the daemon would start, except for the network; it lacks what a guest
// without an engine does not need: two disks and the vsock device.
func (b *bench) boot(ctx context.Context, t *target, n guestNet) error {
	m := b.arcbox.machine
	cmdline := fmt.Sprintf("console=ttyS0 root=/dev/vda ro rootfstype=erofs panic=-1 init=/init peer.ip=%s peer.gateway=%s peer.port=%d", n.ip, n.gateway, guestPort)
	if n.mtu != 0 {
		cmdline += fmt.Sprintf(" peer.mtu=%d", n.mtu)
	}
	if n.sshd {
		cmdline += " peer.sshd"
	}
	if n.mac == [6]byte{} {
		n.mac = [6]byte{0x52, 0x54, 0, 0, 2, 2}
	}
	var r kvm.Resources
	r.Arch, r.Accelerator = kvm.ArchAMD64, m.accelerator
	if n.netdev == "" {
		r.NetFD = 3
	}
	args := kvm.Args(domain.VMPlan{
		Name: domain.MachineName(t.name), CPUs: m.cpus, Memory: peerMemory, Kernel: m.kernel, Cmdline: cmdline,
		Disks: []domain.Disk{{Path: filepath.Join(b.out, "root.erofs"), ReadOnly: true}}, MAC: n.mac, MTU: n.mtu,
	}, r)
	if n.netdev != "" {
		card := "virtio-net-pci,netdev=net,romfile=,mac=" + net.HardwareAddr(n.mac[:]).String()
		if n.mtu != 0 {
			card += fmt.Sprintf(",host_mtu=%d", n.mtu)
		}
		args = append(args, "-netdev", n.netdev, "-device", card)
	}
	args = slices.DeleteFunc(args, func(a string) bool { return a == "-S" })
	console := filepath.Join(b.dir, t.name+".console")
	args = append(args, "-chardev", "file,id=console,path="+console, "-serial", "chardev:console")
	argv := slices.Concat(n.wrap, []string{m.program}, args)
	p, err := b.start(t.ns, t.name+"-qemu", argv[0], argv[1:]...)
	if err != nil {
		return err
	}
	t.atStop(p.stop)
	t.qemu = p.pid()
	err = p.await(ctx, "the guest's word", bootLimit, func() bool {
		text, _ := os.ReadFile(console)
		return strings.Contains(string(text), "guestpeer: ready")
	})
	if err != nil {
		return fmt.Errorf("%w; console: %s", err, tail(console))
	}
	return nil
}
