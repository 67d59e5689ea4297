package docker

import (
	"context"
	"maps"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"arcbox/domain"
)

// Bounds on what is kept of one container.
const (
	maxNetworks  = 64
	maxAliases   = 64
	maxRequested = 4096
	maxText      = 255
	maxBinds     = 256
	maxBindPath  = 4096
	maxListed    = 8192
)

// inspection is the part of GET /containers/{id}/json that is used (Engine API
// 1.40 and newer).
type inspection struct {
	ID    string `json:"Id"`
	Name  string
	State struct{ Running, Restarting bool }
	// Config and HostConfig are what the container was created with.
	Config struct {
		Labels       map[string]string
		ExposedPorts map[string]struct{}
	}
	HostConfig struct {
		PublishAllPorts bool
		PortBindings    map[string][]struct{ HostIP, HostPort string }
	}
	NetworkSettings networkSettings
	Mounts          mounts
}

// summary is the part of an entry of GET /containers/json that is used.
type summary struct {
	ID              string `json:"Id"`
	Names           []string
	Labels          map[string]string
	NetworkSettings networkSettings
	Mounts          mounts
}

type mounts []struct{ Type, Source string }

type networkSettings struct {
	Networks map[string]struct {
		IPAddress         string
		GlobalIPv6Address string
		Aliases, DNSNames []string
	}
}

// network is the part of an entry of GET /networks that is used.
type network struct {
	Driver string
	IPAM   struct{ Config []struct{ Subnet string } }
}

func (c *engineClient) inspect(ctx context.Context, id string) (domain.ContainerFacts, error) {
	var i inspection
	if err := c.get(ctx, inspectTimeout, "/containers/"+id+"/json", nil, inspectLimit, &i); err != nil {
		return domain.ContainerFacts{}, err
	}
	i.ID = id
	return i.facts(), nil
}

// list returns the containers that run, with what a list tells of them.
func (c *engineClient) list(ctx context.Context) ([]domain.ContainerFacts, error) {
	var all []summary
	if err := c.get(ctx, listTimeout, "/containers/json", url.Values{"all": {"0"}}, listLimit, &all); err != nil {
		return nil, err
	}
	var out []domain.ContainerFacts
	for _, s := range all[:min(len(all), maxListed)] {
		if domain.IsContainerID(s.ID) {
			out = append(out, s.facts())
		}
	}
	return out, nil
}

// networks returns the subnets of the engine's own networks. It is never nil
// without an error.
func (c *engineClient) networks(ctx context.Context) ([]netip.Prefix, error) {
	var all []network
	if err := c.get(ctx, listTimeout, "/networks", nil, listLimit, &all); err != nil {
		return nil, err
	}
	return subnets(all), nil
}

// subnets leaves out networks that are not the engine's: what macvlan and
// ipvlan attach to lies on the guest's side of nothing.
func subnets(all []network) []netip.Prefix {
	out := []netip.Prefix{}
	for _, n := range all {
		if n.Driver != "bridge" && n.Driver != "overlay" {
			continue
		}
		for _, c := range n.IPAM.Config {
			if p, err := netip.ParsePrefix(c.Subnet); err == nil && !slices.Contains(out, p.Masked()) && len(out) < maxListed {
				out = append(out, p.Masked())
			}
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	return out
}

func (i *inspection) facts() domain.ContainerFacts {
	f := domain.ContainerFacts{
		ID:        i.ID,
		Name:      cut(strings.TrimPrefix(i.Name, "/")),
		Labels:    composeLabels(i.Config.Labels),
		Running:   i.State.Running && !i.State.Restarting, // between two runs it has no address
		Requested: i.requested(),
		Binds:     i.Mounts.binds(),
	}
	if f.Running {
		f.Networks = i.NetworkSettings.networks(f.ID, f.Name)
	}
	return f
}

func (s *summary) facts() domain.ContainerFacts {
	f := domain.ContainerFacts{ID: s.ID, Labels: composeLabels(s.Labels), Running: true, Binds: s.Mounts.binds()}
	for _, name := range s.Names {
		// Legacy links add names of the form /other/alias.
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
			f.Name = cut(name)
			break
		}
	}
	f.Networks = s.NetworkSettings.networks(f.ID, f.Name)
	return f
}

// requested are the published ports as they were asked for. With -P the engine
// publishes every exposed port besides, and chooses the host's.
func (i *inspection) requested() []domain.PortBinding {
	var out []domain.PortBinding
	for _, port := range slices.Sorted(maps.Keys(i.HostConfig.PortBindings)) {
		for _, b := range i.HostConfig.PortBindings[port] {
			out = append(out, domain.PortBinding{Port: cut(port), HostIP: cut(b.HostIP), HostPort: cut(b.HostPort)})
		}
	}
	if i.HostConfig.PublishAllPorts {
		for _, port := range slices.Sorted(maps.Keys(i.Config.ExposedPorts)) {
			out = append(out, domain.PortBinding{Port: cut(port)})
		}
	}
	return out[:min(len(out), maxRequested)]
}

// binds are the sources of bind mounts, without volumes and what is no path.
func (m mounts) binds() []string {
	var out []string
	for _, one := range m {
		if one.Type == "bind" && len(one.Source) <= maxBindPath && path.IsAbs(one.Source) && len(out) < maxBinds {
			if p := strings.Clone(path.Clean(one.Source)); !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

func (n networkSettings) networks(id, container string) []domain.ContainerNetwork {
	var out []domain.ContainerNetwork
	for _, name := range slices.Sorted(maps.Keys(n.Networks)) {
		if len(out) == maxNetworks {
			break
		}
		e := n.Networks[name]
		place := domain.ContainerNetwork{Name: cut(name)}
		for _, s := range []string{e.IPAddress, e.GlobalIPv6Address} {
			if a, err := netip.ParseAddr(s); err == nil {
				place.Addrs = append(place.Addrs, a)
			}
		}
		for _, alias := range slices.Concat(e.Aliases, e.DNSNames) {
			if alias != container && len(alias) <= maxText && !meansID(alias, id) && !slices.Contains(place.Aliases, alias) && len(place.Aliases) < maxAliases {
				place.Aliases = append(place.Aliases, alias)
			}
		}
		out = append(out, place)
	}
	return out
}

// meansID says whether an alias is the id, or the short id that engines add by
// themselves and use as host name.
func meansID(alias, id string) bool {
	const short = 12
	return len(alias) >= short && strings.HasPrefix(id, alias)
}

// composeLabels keeps the labels that names are made of.
func composeLabels(all map[string]string) map[string]string {
	var out map[string]string
	for _, key := range []string{"com.docker.compose.project", "com.docker.compose.service", "com.docker.compose.oneoff"} {
		if v, ok := all[key]; ok {
			if out == nil {
				out = map[string]string{}
			}
			out[key] = cut(v)
		}
	}
	return out
}

func cut(s string) string { return strings.Clone(s[:min(len(s), maxText)]) }
