package tun

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inspect returns the state of the host.
func (i *Installer) inspect() (State, error) {
	d, err := inspectDevice()
	if err != nil {
		return State{}, err
	}
	st := State{Device: d}
	if st.Routes, err = inspectRoutes(); err != nil {
		return State{}, err
	}
	unit, err := os.ReadFile(i.unitPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return State{}, fmt.Errorf("read the unit %s: %w", UnitName, err)
	}
	st.Unit = string(unit)
	if _, err := os.Stat(i.systemd); err == nil {
		st.Systemd = true
	}
	st.IP, st.NoIPv6 = ipCommand(), noIPv6()
	return st, nil
}

// ipCommand is the path of the ip command, in a place that is root's; "" when
// there is none.
func ipCommand() string {
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, "ip")); err == nil {
			return path
		}
	}
	return ""
}

// noIPv6 reports whether a new interface would get no IPv6 (kernel:
// Documentation/networking/ip-sysctl.rst, disable_ipv6).
func noIPv6() bool {
	for _, of := range []string{"all", "default"} {
		b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + of + "/disable_ipv6")
		if errors.Is(err, fs.ErrNotExist) || strings.TrimSpace(string(b)) == "1" {
			return true
		}
	}
	return false
}

// inspectDevice returns nil when there is no interface of our name.
func inspectDevice() (*DeviceState, error) {
	link, err := netlink.LinkByName(Device)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the interface %s: %w", Device, err)
	}
	a := link.Attrs()
	d := &DeviceState{Alias: a.Alias, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0, Attached: a.RawFlags&unix.IFF_LOWER_UP != 0}
	if t, ok := link.(*netlink.Tuntap); ok {
		d.Owner = t.Owner
		d.Tun = t.Mode == netlink.TUNTAP_MODE_TUN && !t.NonPersist && t.Flags&unix.IFF_NO_PI != 0
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("look at the addresses of %s: %w", Device, err)
	}
	for _, x := range addrs {
		if ip, ok := netip.AddrFromSlice(x.IP); ok {
			ip = ip.Unmap()
			d.Addresses = append(d.Addresses, ip)
			d.RandomAddr = d.RandomAddr || ip.Is6() && ip.IsLinkLocalUnicast()
		}
	}
	return d, nil
}

// inspectRoutes returns the main table's routes.
func inspectRoutes() ([]Route, error) {
	names := map[int]string{}
	var out []Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("look at the host's routes: %w", err)
		}
		for _, r := range routes {
			p, ok := prefix(r.Dst)
			if !ok {
				continue // a default route
			}
			name, ok := names[r.LinkIndex]
			if !ok && r.LinkIndex > 0 {
				if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
					name = l.Attrs().Name
				}
				names[r.LinkIndex] = name
			}
			out = append(out, Route{Prefix: p, Device: name})
		}
	}
	return out, nil
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a, ones), ok && ones > 0
}
