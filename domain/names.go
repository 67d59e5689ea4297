package domain

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Labels that Compose puts on containers.
const (
	labelComposeProject = "com.docker.compose.project"
	labelComposeService = "com.docker.compose.service"
	labelComposeOneOff  = "com.docker.compose.oneoff"
)

// Limits of the domain name system, less room for the domain's own suffix.
const (
	maxDNSLabel  = 63
	maxDNSName   = 200
	maxNameClaim = 256 // names of one container; a guest is not trusted to be modest
)

// ContainerFacts is what names and forwards need to know of a running
// container, as the engine's inspect reports it.
type ContainerFacts struct {
	ID       string
	Name     string // with or without the engine's leading slash
	Labels   map[string]string
	Networks []ContainerNetwork
	// Running is false for a container that only exists.
	Running bool
	// HostNetwork says that it shares the guest's own network.
	HostNetwork bool
	// Requested are the ports that it is to publish, as they were asked for: a
	// host port may be empty, 0 or a range.
	Requested []PortBinding
}

// ContainerNetwork is a container's place in one network.
type ContainerNetwork struct {
	Name    string
	Addrs   []netip.Addr // IPv4 and IPv6; invalid ones are ignored
	Aliases []string
}

// Addrs returns the container's addresses for its own name: the first IPv4 and
// the first IPv6 one, networks taken in the order of their names. There are
// none for network modes none and host.
func (f ContainerFacts) Addrs() []netip.Addr {
	var v4, v6 netip.Addr
	for _, n := range f.networks() {
		for _, a := range usable(n.Addrs) {
			if a.Is4() && !v4.IsValid() {
				v4 = a
			}
			if a.Is6() && !v6.IsValid() {
				v6 = a
			}
		}
	}
	return usable([]netip.Addr{v4, v6})
}

func (f ContainerFacts) networks() []ContainerNetwork {
	return slices.SortedStableFunc(slices.Values(f.Networks), func(a, b ContainerNetwork) int {
		return cmp.Compare(a.Name, b.Name)
	})
}

func usable(in []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range in {
		a = a.Unmap().WithZone("")
		if a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast() {
			out = append(out, a)
		}
	}
	return out
}

// NameClaim is a name that its owner wants to answer with an address.
type NameClaim struct {
	Name string // relative to the domain, lower case
	Addr netip.Addr
	// Alias marks a name that others chose for the container on a network. It
	// answers only as long as no container has it as its own name.
	Alias bool
}

// ContainerNames returns the claims of a container: its name,
// `<service>.<project>` for a Compose service (not for the one-off containers
// of `compose run`), and its aliases on each network with its address there.
// Names that cannot be asked for in the domain name system are left out.
func ContainerNames(f ContainerFacts) []NameClaim {
	var claims []NameClaim
	add := func(name string, addrs []netip.Addr, alias bool) {
		name, ok := dnsName(name)
		if !ok {
			return
		}
		for _, a := range addrs {
			c := NameClaim{Name: name, Addr: a, Alias: alias}
			if len(claims) < maxNameClaim && !slices.Contains(claims, c) {
				claims = append(claims, c)
			}
		}
	}
	addrs := f.Addrs()
	add(f.Name, addrs, false)
	service, project := f.Labels[labelComposeService], f.Labels[labelComposeProject]
	if service != "" && project != "" && !strings.EqualFold(f.Labels[labelComposeOneOff], "true") {
		add(service+"."+project, addrs, false)
	}
	for _, n := range f.networks() {
		for _, alias := range n.Aliases {
			add(alias, usable(n.Addrs), true)
		}
	}
	return claims
}

// dnsName lowers a name and checks that it can be asked for.
func dnsName(s string) (string, bool) {
	s = strings.ToLower(strings.TrimPrefix(s, "/"))
	if s == "" || len(s) > maxDNSName {
		return "", false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxDNSLabel {
			return "", false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", false
			}
		}
	}
	return s, true
}

// NameTable answers names with the addresses of those who claim them. It is
// immutable: a change makes a new table, so readers of an old one are never
// blocked and never see half a change. The zero value is empty.
//
// Invariant: names holds exactly the claims of owners; a name without claims
// is not in it.
type NameTable struct {
	owners map[string][]NameClaim
	names  map[string][]ownedClaim // in the order in which the claims were made
}

type ownedClaim struct {
	owner string
	claim NameClaim
}

// Replace returns a table in which claims are all that owner has. Without
// claims the owner is gone.
func (t NameTable) Replace(owner string, claims []NameClaim) NameTable {
	if slices.Equal(t.owners[owner], claims) {
		return t
	}
	next := NameTable{
		owners: make(map[string][]NameClaim, len(t.owners)+1),
		names:  make(map[string][]ownedClaim, len(t.names)+len(claims)),
	}
	for o, c := range t.owners {
		if o != owner {
			next.owners[o] = c
		}
	}
	for n, held := range t.names {
		if !slices.ContainsFunc(held, func(c ownedClaim) bool { return c.owner == owner }) {
			next.names[n] = held
			continue
		}
		var left []ownedClaim
		for _, c := range held {
			if c.owner != owner {
				left = append(left, c)
			}
		}
		if len(left) > 0 {
			next.names[n] = left
		}
	}
	if len(claims) == 0 {
		return next
	}
	next.owners[owner] = slices.Clone(claims)
	for _, c := range claims {
		// Clip, because the array may be shared with the older table.
		next.names[c.Name] = append(slices.Clip(next.names[c.Name]), ownedClaim{owner, c})
	}
	return next
}

// Remove returns a table without the owner. Names that others claim too are
// answered with their addresses from now on.
func (t NameTable) Remove(owner string) NameTable { return t.Replace(owner, nil) }

// Lookup returns the addresses of a name (relative to the domain, any case),
// oldest claim first and each once. It is empty for a name that nobody claims.
func (t NameTable) Lookup(name string) []netip.Addr {
	held := t.names[strings.ToLower(name)]
	alias := !slices.ContainsFunc(held, func(c ownedClaim) bool { return !c.claim.Alias })
	var out []netip.Addr
	for _, c := range held {
		if c.claim.Alias == alias && !slices.Contains(out, c.claim.Addr) {
			out = append(out, c.claim.Addr)
		}
	}
	return out
}

// Owners lists everyone who has a claim, sorted.
func (t NameTable) Owners() []string {
	out := make([]string, 0, len(t.owners))
	for o := range t.owners {
		out = append(out, o)
	}
	slices.Sort(out)
	return out
}

// Names lists every name that is answered, sorted.
func (t NameTable) Names() []string {
	out := make([]string, 0, len(t.names))
	for n := range t.names {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// NameUnder splits a fully qualified name (any case, with or without the final
// dot) into the part before domain. ok is false for a name outside the domain;
// the domain itself is inside, with an empty part.
func NameUnder(fqdn, domain string) (name string, ok bool) {
	fqdn = strings.ToLower(strings.TrimSuffix(fqdn, "."))
	domain = strings.ToLower(strings.Trim(domain, "."))
	if fqdn == domain {
		return "", true
	}
	name, ok = strings.CutSuffix(fqdn, "."+domain)
	if !ok {
		return "", false
	}
	return name, true
}
