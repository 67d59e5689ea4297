package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// NetworkStatus is the way from the host to the containers' own addresses.
type NetworkStatus struct {
	Installed bool   `json:"installed"`
	Interface string `json:"interface"`
	Owner     string `json:"owner,omitempty"`
	// Attached says whether a daemon moves packets.
	Attached  bool     `json:"attached"`
	Up        bool     `json:"up"`
	MTU       int      `json:"mtu,omitempty"`
	Addresses []string `json:"addresses"`
	Routes    []string `json:"routes"`
	// AtBoot says whether systemd makes the interface again at boot.
	AtBoot bool `json:"at_boot"`
	// Overlaps are routes of the host that take some of the addresses away.
	Overlaps []string `json:"overlaps"`
}

// NetworkInstall says what to install.
type NetworkInstall struct {
	User   string   // the owner's name or number; "" is who called sudo, or the caller
	Pools  []string // routed parts of the container pools; none is all of them
	DryRun bool
}

// Network is the interface of the host that leads to containers.
type Network interface {
	// Install and Uninstall return the steps that they took, or would take.
	Install(NetworkInstall) ([]string, error)
	Uninstall(dryRun bool) ([]string, error)
	Status() (NetworkStatus, error)
}

func (c *command) network() *cobra.Command {
	var in NetworkInstall
	install := &cobra.Command{
		Use: "install", Short: "Reach containers by their own addresses (once, with sudo)", Args: noArgs,
		Long: `Reach containers from this host by their own addresses: every port and protocol, ping too.

It makes an interface that you own, arcbox0, with routes to the container networks, and a systemd
unit that makes it again at boot. The daemon needs no privileges for it, and no restart. Networks
that were made with --internal stay closed.`,
		Example: "  sudo arcbox network install\n  arcbox network install --dry-run\n  sudo arcbox network install --pool 172.18.0.0/15",
		RunE: func(*cobra.Command, []string) error {
			return c.changeNetwork(in.DryRun, func(n Network) ([]string, error) { return n.Install(in) })
		},
	}
	install.Flags().StringVar(&in.User, "user", "", "the user whose daemon may use the interface (default: who called sudo)")
	install.Flags().StringArrayVar(&in.Pools, "pool", nil, "route only this part of the container pools; may be repeated")
	install.Flags().BoolVar(&in.DryRun, "dry-run", false, "only say what would be done")
	var dry bool
	uninstall := &cobra.Command{
		Use: "uninstall", Short: "Take the interface and its unit away (with sudo)", Args: noArgs,
		Example: "  sudo arcbox network uninstall\n  arcbox network uninstall --dry-run",
		RunE: func(*cobra.Command, []string) error {
			return c.changeNetwork(dry, func(n Network) ([]string, error) { return n.Uninstall(dry) })
		},
	}
	uninstall.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	status := &cobra.Command{
		Use: "status", Short: "Show whether containers can be reached by their own addresses", Args: noArgs, Example: "  arcbox network status",
		RunE: func(*cobra.Command, []string) error {
			n, err := c.deps.Network(c.overrides())
			if err != nil {
				return err
			}
			st, err := n.Status()
			if err != nil {
				return err
			}
			installed := "no"
			if st.Installed {
				installed = "yes"
			}
			return c.print(st, func(w io.Writer) { networkTable(w, st) }, installed)
		},
	}
	return group("network", "Reach containers by their own addresses", `Reach containers by their own addresses from this host. Published ports need nothing of this.`,
		install, uninstall, status)
}

// networkSteps is the JSON of a change.
type networkSteps struct {
	DryRun bool     `json:"dry_run"`
	Steps  []string `json:"steps"`
}

func (c *command) changeNetwork(dry bool, change func(Network) ([]string, error)) error {
	n, err := c.deps.Network(c.overrides())
	if err != nil {
		return err
	}
	steps, err := change(n)
	if err != nil {
		return err
	}
	if steps == nil {
		steps = []string{}
	}
	return c.print(networkSteps{dry, steps}, func(w io.Writer) {
		if len(steps) == 0 {
			fmt.Fprintln(w, "nothing to do")
		}
		for _, s := range steps {
			fmt.Fprintln(w, s)
		}
	}, steps...)
}

func networkTable(w io.Writer, st NetworkStatus) {
	if !st.Installed {
		row(w, "interface "+st.Interface, "not installed (sudo arcbox network install)")
		return
	}
	state := "no daemon uses it"
	switch {
	case !st.Up:
		state = "down"
	case st.Attached:
		state = "in use by a daemon"
	}
	row(w, "interface "+st.Interface, state)
	row(w, "owner", st.Owner)
	row(w, "host's addresses", strings.Join(st.Addresses, ", "))
	row(w, "routes", strings.Join(st.Routes, ", "))
	boot := "no"
	if st.AtBoot {
		boot = "yes"
	}
	row(w, "made at boot", boot)
	for _, o := range st.Overlaps {
		row(w, "problem", o)
	}
}
