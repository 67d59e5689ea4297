package tun

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"arcbox/domain"
)

// State is what is found on a host.
type State struct {
	// Device is nil when there is no interface of our name.
	Device *DeviceState
	// Routes are those of the main table, of both families.
	Routes []Route
	// NoIPv6 says that the host has IPv6 switched off.
	NoIPv6 bool
	// Unit is the content of the file that makes the device at boot, "" when
	// there is none; Systemd says whether systemd runs, IP is the path of the ip
	// command, "" when there is none.
	Unit    string
	Systemd bool
	IP      string
}

// DeviceState is an interface of our name.
type DeviceState struct {
	Tun        bool // a persistent tun device without packet headers
	Alias      string
	Owner      uint32
	MTU        int
	Up         bool
	Attached   bool // a process reads it
	Addresses  []netip.Addr
	RandomAddr bool // the kernel gives it a link-local IPv6 address
}

// Route is one of the host's routes.
type Route struct {
	Prefix netip.Prefix
	Device string
}

// String is as the ip command names it.
func (r Route) String() string {
	if r.Device == "" {
		return r.Prefix.String()
	}
	return r.Prefix.String() + " dev " + r.Device
}

// Kind is what an Action does.
type Kind int

// The kinds of actions, in the order in which they can be done.
const (
	RemoveUnit Kind = iota
	RemoveDevice
	CreateDevice
	SetAlias
	SetMTU
	SetNoLinkLocal
	AddAddress
	SetUp
	AddRoute
	WriteUnit
)

// Action is one step of a plan.
type Action struct {
	Kind    Kind
	Owner   uint32       // CreateDevice
	MTU     int          // SetMTU
	Address netip.Addr   // AddAddress
	Prefix  netip.Prefix // AddRoute
	Source  netip.Addr   // AddRoute
	Unit    string       // WriteUnit
}

// Args are the arguments of the ip command that would do the same, nil for what
// is about the unit.
func (a Action) Args() []string {
	switch a.Kind {
	case RemoveDevice:
		return []string{"link", "delete", "dev", Device}
	case CreateDevice:
		return []string{"tuntap", "add", "dev", Device, "mode", "tun", "user", strconv.FormatUint(uint64(a.Owner), 10)}
	case SetAlias:
		return []string{"link", "set", "dev", Device, "alias", Alias}
	case SetMTU:
		return []string{"link", "set", "dev", Device, "mtu", strconv.Itoa(a.MTU)}
	case SetNoLinkLocal:
		return []string{"link", "set", "dev", Device, "addrgenmode", "none"}
	case AddAddress:
		args := []string{"address", "add", hostPrefix(a.Address).String(), "dev", Device}
		if a.Address.Is6() { // a route needs it at once
			args = append(args, "nodad")
		}
		return args
	case SetUp:
		return []string{"link", "set", "dev", Device, "up"}
	case AddRoute:
		return []string{"route", "add", a.Prefix.String(), "dev", Device, "src", a.Source.String()}
	}
	return nil
}

// Plan returns what makes the host of st have s: nothing when it has. The error
// wraps domain.ErrConflict when an interface of our name is not ours, or a route
// of the host overlaps those of s. On a host without IPv6, s's IPv6 is left out.
func Plan(st State, s Settings) ([]Action, error) {
	if st.NoIPv6 {
		s.Addresses = slices.DeleteFunc(slices.Clone(s.Addresses), netip.Addr.Is6)
		s.Prefixes = slices.DeleteFunc(slices.Clone(s.Prefixes), func(p netip.Prefix) bool { return p.Addr().Is6() })
	}
	d := st.Device
	if err := foreign(d); err != nil {
		return nil, err
	}
	boot := st.Systemd && st.IP != ""
	if boot && st.Unit != "" && !IsOurUnit(st.Unit) {
		return nil, fmt.Errorf("the unit %s is there and not ArcBox's: %w", UnitName, domain.ErrConflict)
	}
	if found := Overlaps(st.Routes, s.Prefixes); len(found) > 0 {
		return nil, overlapError(found, s.Prefixes)
	}
	var plan []Action
	if d != nil && !d.is(s) {
		// Its owner and addresses could be changed, its routes would have to be
		// compared: a new one costs a moment.
		plan = append(plan, Action{Kind: RemoveDevice})
		d = nil
	}
	have := st.routesOfOurs(d)
	if d != nil && len(surplus(have, s.Prefixes)) > 0 {
		plan, d, have = append(plan, Action{Kind: RemoveDevice}), nil, nil
	}
	fresh := create(s)
	if d == nil {
		plan = append(plan, fresh...)
	} else {
		for _, a := range fresh {
			if !d.has(a, have) {
				plan = append(plan, a)
			}
		}
	}
	if boot {
		if u := Unit(st.IP, fresh); u != st.Unit {
			plan = append(plan, Action{Kind: WriteUnit, Unit: u})
		}
	}
	return plan, nil
}

// PlanRemoval returns what takes everything of ours off the host of st. The
// error wraps domain.ErrConflict when an interface of our name is not ours.
func PlanRemoval(st State) ([]Action, error) {
	if err := foreign(st.Device); err != nil {
		return nil, err
	}
	var plan []Action
	if IsOurUnit(st.Unit) {
		plan = append(plan, Action{Kind: RemoveUnit})
	}
	if st.Device != nil {
		plan = append(plan, Action{Kind: RemoveDevice}) // takes its addresses and routes along
	}
	return plan, nil
}

func foreign(d *DeviceState) error {
	if d == nil || d.Alias == Alias {
		return nil
	}
	return domain.WithHint(fmt.Errorf("the interface %s is not ArcBox's: %w", Device, domain.ErrConflict),
		"remove it with: sudo ip link delete "+Device)
}

// create is all that a device of s takes.
func create(s Settings) []Action {
	plan := []Action{{Kind: CreateDevice, Owner: s.Owner}, {Kind: SetAlias}, {Kind: SetMTU, MTU: s.MTU}, {Kind: SetNoLinkLocal}}
	for _, a := range s.Addresses {
		plan = append(plan, Action{Kind: AddAddress, Address: a})
	}
	plan = append(plan, Action{Kind: SetUp})
	for _, p := range s.Prefixes {
		if src, ok := s.source(p); ok {
			plan = append(plan, Action{Kind: AddRoute, Prefix: p, Source: src})
		}
	}
	return plan
}

// source is the host's address for p's family.
func (s Settings) source(p netip.Prefix) (netip.Addr, bool) {
	for _, a := range s.Addresses {
		if a.Is4() == p.Addr().Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// is reports whether d can stay for s.
func (d *DeviceState) is(s Settings) bool {
	return d.Tun && d.Owner == s.Owner && !slices.ContainsFunc(d.Addresses, func(a netip.Addr) bool {
		return !a.IsLinkLocalUnicast() && !slices.Contains(s.Addresses, a)
	})
}

// has reports whether a is done already; routes are those through d.
func (d *DeviceState) has(a Action, routes []netip.Prefix) bool {
	switch a.Kind {
	case SetMTU:
		return d.MTU == a.MTU
	case SetNoLinkLocal:
		return !d.RandomAddr
	case AddAddress:
		return slices.Contains(d.Addresses, a.Address)
	case SetUp:
		return d.Up
	case AddRoute:
		return slices.Contains(routes, a.Prefix)
	}
	return true // it exists, and has its alias
}

// routesOfOurs are the prefixes routed through our device.
func (st State) routesOfOurs(d *DeviceState) []netip.Prefix {
	if d == nil {
		return nil
	}
	var out []netip.Prefix
	for _, r := range st.Routes {
		if r.Device == Device && !slices.Contains(d.Addresses, r.Prefix.Addr()) && !r.Prefix.Addr().IsLinkLocalUnicast() && !r.Prefix.Addr().IsMulticast() {
			out = append(out, r.Prefix)
		}
	}
	return out
}

func surplus(have, want []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(have), func(p netip.Prefix) bool { return slices.Contains(want, p) })
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
