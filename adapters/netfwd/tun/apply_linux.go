package tun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addrGenModeNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h: no link-local
// address, and so nothing of IPv6's own chatter on the device.
const addrGenModeNone = 1

// apply does one step of a plan.
func (i *Installer) apply(a Action) error {
	switch a.Kind {
	case CreateDevice:
		return createDevice(i.node, Device, a.Owner)
	case WriteUnit:
		return i.writeUnit(a.Unit)
	case RemoveUnit:
		return i.removeUnit()
	}
	link, err := netlink.LinkByName(Device)
	if err != nil {
		return fmt.Errorf("interface %s: %w", Device, err)
	}
	switch a.Kind {
	case RemoveDevice:
		err = netlink.LinkDel(link)
	case SetAlias:
		err = netlink.LinkSetAlias(link, Alias)
	case SetMTU:
		err = netlink.LinkSetMTU(link, a.MTU)
	case SetNoLinkLocal:
		if err = netlink.LinkSetIP6AddrGenMode(link, addrGenModeNone); errors.Is(err, unix.EAFNOSUPPORT) {
			err = nil // a host without IPv6 makes no such address
		}
	case AddAddress:
		x := &netlink.Addr{IPNet: ipNet(hostPrefix(a.Address))}
		if a.Address.Is6() {
			x.Flags = unix.IFA_F_NODAD
		}
		err = netlink.AddrReplace(link, x)
	case SetUp:
		err = netlink.LinkSetUp(link)
	case AddRoute:
		err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(a.Prefix), Src: a.Source.AsSlice(), Scope: netlink.SCOPE_LINK})
	default:
		return fmt.Errorf("unknown action %d", a.Kind)
	}
	if err != nil {
		return fmt.Errorf("ip %s: %w", strings.Join(a.Args(), " "), err)
	}
	return nil
}

// createDevice makes a persistent device, and does not stay attached to it.
func createDevice(node, name string, owner uint32) error {
	fd, err := openQueue(node, name, unix.IFF_TUN|unix.IFF_NO_PI)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.IoctlSetInt(fd, unix.TUNSETOWNER, int(owner)); err != nil {
		return fmt.Errorf("give %s to its owner: %w", name, os.NewSyscallError("ioctl TUNSETOWNER", err))
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("keep %s: %w", name, os.NewSyscallError("ioctl TUNSETPERSIST", err))
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func (i *Installer) unitPath() string { return filepath.Join(i.units, UnitName) }

// wantedPath is what systemctl enable would make.
func (i *Installer) wantedPath() string {
	return filepath.Join(i.units, "multi-user.target.wants", UnitName)
}

func (i *Installer) writeUnit(content string) error {
	if err := os.MkdirAll(filepath.Dir(i.wantedPath()), 0o755); err != nil {
		return fmt.Errorf("unit %s: %w", UnitName, err)
	}
	if err := renameio.WriteFile(i.unitPath(), []byte(content), 0o644, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("unit %s: %w", UnitName, err)
	}
	if err := os.Symlink(i.unitPath(), i.wantedPath()); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("unit %s: %w", UnitName, err)
	}
	i.reload()
	return nil
}

func (i *Installer) removeUnit() error {
	for _, path := range []string{i.wantedPath(), i.unitPath()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("unit %s: %w", UnitName, err)
		}
	}
	i.reload()
	return nil
}

const reloadLimit = 10 * time.Second

// reload tells a running systemd to look at its units. It would at the next
// boot anyway.
func (i *Installer) reload() {
	if _, err := os.Stat(i.systemd); err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), reloadLimit)
		defer cancel()
		_ = exec.CommandContext(ctx, "systemctl", "daemon-reload").Run()
	}
}
