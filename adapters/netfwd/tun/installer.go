package tun

import (
	"fmt"
	"net/netip"
	"strings"

	"arcbox/domain"
)

// Status is what is installed on a host.
type Status struct {
	Installed bool
	Owner     uint32
	MTU       int // bytes
	Up        bool
	// Attached says whether a daemon moves packets.
	Attached  bool
	Addresses []netip.Addr
	Prefixes  []netip.Prefix // routed to the guest
	// AtBoot says whether systemd makes the device again at boot.
	AtBoot bool
	// Overlaps are routes that the host has got since, which take addresses away.
	Overlaps []Overlap
}

func (st State) status() Status {
	out := Status{AtBoot: IsOurUnit(st.Unit)}
	d := st.Device
	if d == nil || d.Alias != Alias {
		return out
	}
	out.Installed, out.Owner, out.MTU, out.Up, out.Attached, out.Addresses = true, d.Owner, d.MTU, d.Up, d.Attached, d.Addresses
	out.Prefixes = st.routesOfOurs(d)
	out.Overlaps = Overlaps(st.Routes, out.Prefixes)
	return out
}

// describe says what a does, as commands.
func (a Action) describe(unitPath string) string {
	switch a.Kind {
	case WriteUnit:
		return "write " + unitPath + ":\n" + strings.TrimRight(a.Unit, "\n")
	case RemoveUnit:
		return "remove " + unitPath
	}
	return "ip " + strings.Join(a.Args(), " ")
}

// execute does plan, or only says it, and returns what was done. root says
// whether it may.
func execute(plan []Action, unitPath string, dryRun, root bool, command string, apply func(Action) error) ([]string, error) {
	steps := make([]string, 0, len(plan))
	if len(plan) > 0 && !dryRun && !root {
		return nil, domain.WithHint(fmt.Errorf("changing the host's network needs root: %w", domain.ErrPermission), "sudo "+command)
	}
	for _, a := range plan {
		if !dryRun {
			if err := apply(a); err != nil {
				return steps, err
			}
		}
		steps = append(steps, a.describe(unitPath))
	}
	return steps, nil
}
