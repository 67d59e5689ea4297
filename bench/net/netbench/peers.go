//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// jumbo is ArcBox's own MTU; peers that can have it get it, which is in their
// favour.
const jumbo = 65520

// peer is another way into a guest.
type peer struct {
	name string
	note string
	// userMode says that it needs no privileges, as ArcBox does not.
	userMode bool
	start    func(context.Context, *bench, *target) error
}

func peers() []peer {
	return []peer{
		{"usernet", "ArcBox's own network with a peer's guest, no engine", false, ownNetwork},
		{"tap", "tap device, MTU 1500 with segmentation offload, in a network namespace", false, tap(0)},
		{"tap-jumbo", "tap device, MTU 65520", false, tap(jumbo)},
		{"passt", "passt over a Unix socket, MTU 65520", true, passt},
		{"slirp", "QEMU's own user network with hostfwd", true, slirp},
		{"gvproxy", "gvisor-tap-vsock's gvproxy with an exposed port, MTU 65520", true, gvproxy(jumbo)},
		{"gvproxy-1500", "the same with its default MTU of 1500", true, gvproxy(0)},
		{"ssh", "OpenSSH port forward (-L) to sshd in the guest, over QEMU's user network", true, ssh},
	}
}

func peerNames() []string {
	var names []string
	for _, p := range peers() {
		names = append(names, p.name)
	}
	return names
}

// startPeer returns a peer that answers, or an error that says why it cannot
// run here.
func (b *bench) startPeer(ctx context.Context, p peer) (_ *target, err error) {
	if reason, err := os.ReadFile(filepath.Join(b.out, "absent", p.name)); err == nil {
		return nil, fmt.Errorf("%s", strings.TrimSpace(string(reason)))
	}
	t := &target{name: p.name}
	defer func() {
		if err != nil {
			t.stop()
		}
	}()
	if err := p.start(ctx, b, t); err != nil {
		return nil, err
	}
	return t, b.answers(ctx, t)
}

// answers waits until an echo comes back.
func (b *bench) answers(ctx context.Context, t *target) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		err := t.ns.do(func() error { return once(t.addr, time.Now().Add(5*time.Second)) })
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer from %s: %w", t.addr, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// freePort is a port of the loopback address that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func tap(mtu int) func(context.Context, *bench, *target) error {
	return func(ctx context.Context, b *bench, t *target) error {
		const device, host, guest = "tap0", "10.0.2.1", "10.0.2.2"
		ns, err := newNamespace()
		if err != nil {
			return err
		}
		t.ns = ns
		t.atStop(ns.close)
		err = ns.do(func() error {
			link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: device}, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR}
			if err := netlink.LinkAdd(link); err != nil {
				return fmt.Errorf("make a tap device: %w", err)
			}
			if mtu != 0 {
				if err := netlink.LinkSetMTU(link, mtu); err != nil {
					return fmt.Errorf("MTU of the tap device: %w", err)
				}
			}
			addr, err := netlink.ParseAddr(host + "/24")
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(link, addr); err != nil {
				return fmt.Errorf("address of the tap device: %w", err)
			}
			return netlink.LinkSetUp(link)
		})
		if err != nil {
			return err
		}
		t.addr = net.JoinHostPort(guest, strconv.Itoa(guestPort))
		return b.boot(ctx, t, guestNet{
			netdev: "tap,id=net,ifname=" + device + ",script=no,downscript=no", ip: guest + "/24", gateway: host, mtu: mtu,
		})
	}
}

func passt(ctx context.Context, b *bench, t *target) error {
	program, err := exec.LookPath("passt")
	if err != nil {
		return err
	}
	port, err := t.onLoopback()
	if err != nil {
		return err
	}
	socket := filepath.Join(b.dir, "passt.sock")
	args := []string{"-f", "-e", "-s", socket, "-a", "10.0.2.15", "-n", "24", "-g", "10.0.2.2",
		"-t", fmt.Sprintf("127.0.0.1/%d:%d", port, guestPort), "-u", "none"}
	if os.Geteuid() == 0 {
		args = append(args, "--runas", "0") // otherwise it becomes nobody, who cannot reach the socket
	}
	p, err := b.start(nil, "passt", program, args...)
	if err != nil {
		return err
	}
	t.atStop(p.stop)
	t.network = p.pid()
	if err := p.await(ctx, "its socket", 10*time.Second, exists(socket)); err != nil {
		return err
	}
	return b.boot(ctx, t, guestNet{netdev: streamTo(socket), ip: "10.0.2.15/24", gateway: "10.0.2.2", mtu: jumbo})
}

func exists(path string) func() bool {
	return func() bool {
		_, err := os.Stat(path)
		return err == nil
	}
}

func streamTo(socket string) string {
	return "stream,id=net,server=off,addr.type=unix,addr.path=" + socket
}

func slirp(ctx context.Context, b *bench, t *target) error {
	port, err := t.onLoopback()
	if err != nil {
		return err
	}
	return b.boot(ctx, t, guestNet{
		netdev: fmt.Sprintf("user,id=net,hostfwd=tcp:127.0.0.1:%d-10.0.2.15:%d", port, guestPort),
		ip:     "10.0.2.15/24", gateway: "10.0.2.2",
	})
}

func gvproxy(mtu int) func(context.Context, *bench, *target) error {
	// gvproxy's DHCP gives this address to this hardware address.
	const guest, gateway = "192.168.127.2", "192.168.127.1"
	mac := [6]byte{0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee}
	return func(ctx context.Context, b *bench, t *target) error {
		if _, err := t.onLoopback(); err != nil {
			return err
		}
		link, services := filepath.Join(b.dir, t.name+".sock"), filepath.Join(b.dir, t.name+"-services.sock")
		args := []string{"-listen-qemu", "unix://" + link, "-services", "unix://" + services, "-ssh-port", "-1"}
		if mtu != 0 {
			args = append(args, "-mtu", strconv.Itoa(mtu))
		}
		p, err := b.start(nil, t.name, filepath.Join(b.out, "gvproxy"), args...)
		if err != nil {
			return err
		}
		t.atStop(p.stop)
		t.network = p.pid()
		both := func() bool { return exists(link)() && exists(services)() }
		if err := p.await(ctx, "its sockets", 10*time.Second, both); err != nil {
			return err
		}
		err = b.boot(ctx, t, guestNet{netdev: streamTo(link), mac: mac, ip: guest + "/24", gateway: gateway, mtu: mtu})
		if err != nil {
			return err
		}
		return expose(ctx, services, t.addr, net.JoinHostPort(guest, strconv.Itoa(guestPort)))
	}
}

// expose asks gvproxy to publish a port.
func expose(ctx context.Context, socket, local, remote string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := json.Marshal(map[string]string{"local": local, "remote": remote})
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gvproxy/services/forwarder/expose", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("expose %s: %w", local, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("expose %s: gvproxy says %s", local, resp.Status)
	}
	return nil
}

func ssh(ctx context.Context, b *bench, t *target) error {
	program, err := exec.LookPath("ssh")
	if err != nil {
		return err
	}
	server, err := freePort()
	if err != nil {
		return err
	}
	err = b.boot(ctx, t, guestNet{
		netdev: fmt.Sprintf("user,id=net,hostfwd=tcp:127.0.0.1:%d-10.0.2.15:22", server),
		ip:     "10.0.2.15/24", gateway: "10.0.2.2", sshd: true,
	})
	if err != nil {
		return err
	}
	port, err := t.onLoopback()
	if err != nil {
		return err
	}
	args := []string{"-F", "none", "-N", "-i", filepath.Join(b.out, "ssh-key"), "-p", strconv.Itoa(server),
		"-L", fmt.Sprintf("127.0.0.1:%d:127.0.0.1:%d", port, guestPort)}
	for _, o := range []string{"IdentitiesOnly=yes", "BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null",
		"ExitOnForwardFailure=yes", "LogLevel=ERROR", "ConnectionAttempts=20"} {
		args = append(args, "-o", o)
	}
	p, err := b.start(nil, t.name, program, append(args, "root@127.0.0.1")...)
	if err != nil {
		return err
	}
	t.atStop(p.stop)
	t.network = p.pid()
	return p.await(ctx, "its port", time.Minute, func() bool { return once(t.addr, time.Now().Add(5*time.Second)) == nil })
}
