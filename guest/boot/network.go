//go:build linux

package boot

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"arcbox/guest/cmdline"
)

// Uplink is the interface to the host.
const Uplink = "eth0"

// ConfigureNetwork brings up loopback and the uplink with what the command
// line says. Without an address the uplink is left down.
func ConfigureNetwork(c cmdline.Config) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	if !c.IP.IsValid() && !c.IP6.IsValid() {
		return errors.New("the kernel command line has no arcbox.ip: the guest has no network")
	}
	link, err := netlink.LinkByName(Uplink)
	if err != nil {
		return fmt.Errorf("interface %s: %w", Uplink, err)
	}
	if err := netlink.LinkSetMTU(link, c.MTU); err != nil {
		return fmt.Errorf("set the MTU of %s to %d: %w", Uplink, c.MTU, err)
	}
	for _, p := range []netip.Prefix{c.IP, c.IP6} {
		if !p.IsValid() {
			continue
		}
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			// Usable at once instead of after a second of looking for others.
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrReplace(link, a); err != nil {
			return fmt.Errorf("give %s the address %s: %w", Uplink, p, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", Uplink, err)
	}
	for _, g := range []netip.Addr{c.Gateway, c.Gateway6} {
		if !g.IsValid() {
			continue
		}
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: defaultRoute(g), Gw: g.AsSlice()}); err != nil {
			return fmt.Errorf("route everything to %s: %w", g, err)
		}
	}
	return nil
}

func defaultRoute(gateway netip.Addr) *net.IPNet {
	if gateway.Is4() {
		return ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	}
	return ipNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// ResolvConf is the content of resolv.conf.
func ResolvConf(servers []netip.Addr) string {
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	// The first server is next door, and may have to ask others.
	b.WriteString("options timeout:3 attempts:2\n")
	return b.String()
}

// WriteNames writes resolv.conf, to which /etc has a link, and sets the host
// name.
func WriteNames(c cmdline.Config) error {
	return errors.Join(
		os.WriteFile("/run/resolv.conf", []byte(ResolvConf(c.DNS)), 0o644),
		unix.Sethostname([]byte(c.Hostname)),
		os.WriteFile("/etc/hostname", []byte(c.Hostname+"\n"), 0o644),
		os.WriteFile("/etc/hosts", []byte("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 "+c.Hostname+"\n"), 0o644),
	)
}
