//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"arcbox/adapters/netfwd"
	"arcbox/domain"
)

// ownNetwork is ArcBox's network and forwarder with a peer's guest, without
// daemon, engine and container: like for like with the peers, and what it lacks
// to the published port is what the engine's guest costs.
func ownNetwork(ctx context.Context, b *bench, t *target) error {
	if _, err := t.onLoopback(); err != nil {
		return err
	}
	err := b.boot(ctx, t, guestNet{
		wrap: []string{b.self, "usernet", t.addr}, ip: "10.0.2.2/24", gateway: "10.0.2.1", mtu: jumbo,
	})
	if err != nil {
		return err
	}
	t.network = t.qemu
	t.qemu, err = onlyChild(t.network)
	return err
}

// onlyChild is the process that another one has started.
func onlyChild(pid int) (int, error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, err
	}
	var children []string
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err == nil {
			children = append(children, strings.Fields(string(text))...)
		}
	}
	if len(children) != 1 {
		return 0, fmt.Errorf("process %d has children %v, expected one", pid, children)
	}
	return strconv.Atoi(children[0])
}

// usernet is `usernet ADDRESS QEMU ARGUMENT...`: it forwards the address to the
// guest that QEMU runs on descriptor 3, until either ends.
func usernet(ctx context.Context, args []string) (err error) {
	if len(args) < 2 {
		return errors.New("usernet: want an address and QEMU's command line")
	}
	at, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	networks, err := netfwd.New(netfwd.Options{})
	if err != nil {
		return err
	}
	opened, err := networks.Open(domain.DefaultMachine)
	if err != nil {
		return err
	}
	link := opened.(*netfwd.Link)
	defer func() { err = errors.Join(err, link.Close()) }()
	guest := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 2, 2}), guestPort)
	if _, err := link.Forward(ctx, domain.ForwardRule{Protocol: domain.TCP, Host: at, Target: guest}); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, args[1], args[2:]...)
	cmd.ExtraFiles = []*os.File{link.File()}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}

// onLoopback gives t an address of this machine that nobody listens on.
func (t *target) onLoopback() (port int, err error) {
	port, err = freePort()
	t.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return port, err
}
