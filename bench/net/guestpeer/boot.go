//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// boot is process 1: it mounts what programs expect, configures eth0 and
// serves. Words of the kernel command line that it knows:
//
//	peer.ip=ADDRESS/BITS peer.gateway=ADDRESS peer.mtu=BYTES peer.port=PORT peer.sshd
func boot() error {
	mounts := []struct{ source, at, kind string }{
		{"proc", "/proc", "proc"}, {"sysfs", "/sys", "sysfs"}, {"tmpfs", "/run", "tmpfs"}, {"tmpfs", "/tmp", "tmpfs"},
	}
	for _, m := range mounts {
		if err := syscall.Mount(m.source, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	words := map[string]string{}
	for _, w := range strings.Fields(string(text)) {
		key, value, _ := strings.Cut(w, "=")
		words[key] = value
	}
	if err := network(words); err != nil {
		return err
	}
	if _, ok := words["peer.sshd"]; ok {
		if err := startSSHD(); err != nil {
			return err
		}
	}
	first, last, err := portRange(words["peer.port"])
	if err != nil {
		return err
	}
	fmt.Println("guestpeer: ready")
	return serve(first, last)
}

func network(words map[string]string) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	eth, err := netlink.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("eth0: %w", err)
	}
	if mtu, err := strconv.Atoi(words["peer.mtu"]); err == nil {
		if err := netlink.LinkSetMTU(eth, mtu); err != nil {
			return fmt.Errorf("MTU %d of eth0: %w", mtu, err)
		}
	}
	addr, err := netlink.ParseAddr(words["peer.ip"])
	if err != nil {
		return fmt.Errorf("peer.ip=%s: %w", words["peer.ip"], err)
	}
	err = errors.Join(netlink.LinkSetUp(lo), netlink.AddrAdd(eth, addr), netlink.LinkSetUp(eth))
	if err != nil {
		return fmt.Errorf("configure eth0: %w", err)
	}
	gateway, err := netlink.ParseIPNet(words["peer.gateway"] + "/32")
	if err != nil {
		return fmt.Errorf("peer.gateway=%s: %w", words["peer.gateway"], err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway.IP}); err != nil {
		return fmt.Errorf("route by %s: %w", gateway.IP, err)
	}
	return nil
}

// startSSHD starts the distribution's sshd and waits until it listens.
func startSSHD() error {
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return err
	}
	cmd := exec.Command("/usr/sbin/sshd", "-f", "/etc/ssh/sshd_config", "-D", "-e")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("sshd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	limit := time.After(30 * time.Second)
	for {
		c, err := net.Dial("tcp", "127.0.0.1:22")
		if err == nil {
			return c.Close()
		}
		select {
		case err := <-ended:
			return fmt.Errorf("sshd ended before it listened: %v", err) //nolint:errorlint // it may be nil
		case <-limit:
			return fmt.Errorf("sshd does not listen: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
