package domain

import (
	"cmp"
	"fmt"
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
	// Requested are the ports that it is to publish, as they were asked for: a
	// host port may be empty, 0 or a range.
	Requested []PortBinding
	// Binds are the sources of its bind mounts: clean absolute paths in the guest,
	// in no order.
	Binds []string
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

// ParseDomain returns a domain for local names as names are compared:
// lower-case and without a dot at its end. The error wraps ErrInvalid for one
// that is no domain of letters, digits and hyphens, or that leaves no room for
// names below it.
func ParseDomain(s string) (string, error) {
	const longest = 253 - 1 - maxDNSName // of a name in text, less the dot
	name, ok := dnsName(strings.TrimSuffix(s, "."))
	ok = ok && len(name) <= longest && !strings.ContainsAny(name, "_") && !strings.HasPrefix(s, "/")
	for label := range strings.SplitSeq(name, ".") {
		ok = ok && !strings.HasPrefix(label, "-") && !strings.HasSuffix(label, "-")
	}
	if !ok {
		return "", fmt.Errorf("domain %q: want letters, digits and hyphens between dots, %d characters at most: %w", s, longest, ErrInvalid)
	}
	return name, nil
}
