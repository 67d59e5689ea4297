package bootstrap

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"arcbox/adapters/cli"
	"arcbox/adapters/netfwd/tun"
	"arcbox/adapters/netfwd/usernet"
	"arcbox/domain"
)

// attachHost returns what connects the host's interface to a guest's network.
func attachHost(log *slog.Logger) func(context.Context, *usernet.Network) {
	return tun.NewAttacher(log).Run
}

// hostNetwork is the interface of the host, for the command line.
type hostNetwork struct {
	load      func(files []string) (Config, error)
	files     []string // the caller's configuration files
	environ   func(string) string
	installer *tun.Installer
}

func newHostNetwork(load func(files []string) (Config, error)) *hostNetwork {
	return &hostNetwork{load: load, files: ConfigFiles(), environ: os.Getenv, installer: tun.NewInstaller()}
}

// Install implements cli.Network.
func (h *hostNetwork) Install(in cli.NetworkInstall) ([]string, error) {
	owner, err := h.owner(in.User)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(owner.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s has the number %q: %w", owner.Username, owner.Uid, domain.ErrInvalid)
	}
	// Under sudo the caller's home is root's, but the daemon reads the owner's files.
	files := h.files
	if uint64(os.Geteuid()) != uid {
		files = []string{files[0], filepath.Join(owner.HomeDir, ".config", "arcbox", "config.toml")}
	}
	c, err := h.load(files)
	if err != nil {
		return nil, err
	}
	only := make([]netip.Prefix, 0, len(in.Pools))
	for _, text := range in.Pools {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--pool %q: want a network such as 172.18.0.0/15: %w", text, domain.ErrInvalid)
		}
		only = append(only, p)
	}
	s, err := tun.NewSettings(c.tunNetworks(), only)
	if err != nil {
		return nil, err
	}
	s.Owner, s.MTU = uint32(uid), c.Network.MTU
	return h.installer.Install(s, in.DryRun)
}

// tunNetworks are the networks that the host's interface leads to.
func (c Config) tunNetworks() tun.Networks {
	subnet6, _, guest6 := domain.GuestIPv6()
	return tun.Networks{
		Subnets: []netip.Prefix{c.Network.prefix(), subnet6},
		Guests:  []netip.Addr{c.Network.guest(), guest6},
		Pools:   domain.ContainerPools(),
	}
}

// owner is the user name, a name or a number, or who called sudo, or the caller.
func (h *hostNetwork) owner(name string) (*user.User, error) {
	if name == "" {
		name = h.environ("SUDO_UID")
	}
	if name == "" {
		name = strconv.Itoa(os.Getuid())
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("there is no user %s: %w", name, domain.ErrNotFound)
		}
	}
	return u, nil
}

// Uninstall implements cli.Network.
func (h *hostNetwork) Uninstall(dryRun bool) ([]string, error) { return h.installer.Uninstall(dryRun) }

// Status implements cli.Network.
func (h *hostNetwork) Status() (cli.NetworkStatus, error) {
	st, err := h.installer.Status()
	out := cli.NetworkStatus{Installed: st.Installed, Interface: tun.Device, Attached: st.Attached, Up: st.Up, MTU: st.MTU,
		Addresses: texts(st.Addresses), Routes: texts(st.Prefixes), AtBoot: st.AtBoot, Overlaps: texts(st.Overlaps)}
	if st.Installed {
		out.Owner = strconv.FormatUint(uint64(st.Owner), 10)
		if u, err := user.LookupId(out.Owner); err == nil {
			out.Owner = u.Username
		}
	}
	return out, err
}

func texts[T fmt.Stringer](list []T) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = x.String()
	}
	return out
}
