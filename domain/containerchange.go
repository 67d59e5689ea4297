package domain

import (
	"net/netip"
	"slices"
	"strings"
)

// ContainerChange is news of an engine's containers. The first one of a watch,
// and the first after events may have been lost, is Full.
type ContainerChange struct {
	// Full says that Present is every container that runs and Networks every
	// network; whoever is not in them is gone.
	Full bool
	// Present are containers that are new or changed, as they are now. One that
	// was created and does not run is among them: Running tells.
	Present []ContainerFacts
	// Gone are the full ids of containers that do not exist any more.
	Gone []string
	// Networks, when it is not nil, replaces the subnets of all networks of the
	// engine; they lie behind the guest.
	Networks []netip.Prefix
}

// ContainerPools are the prefixes from which engines take the subnets of their
// networks unless they are told otherwise.
func ContainerPools() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("fd0a:bc:1::/48")}
}

// maxContainers bounds what is remembered of one engine.
const maxContainers = 8192

// Containers is what is known of one engine's containers. The zero value is
// empty. It is not safe for concurrent use.
//
// Invariant: addrs holds exactly the usable addresses of those that run.
type Containers struct {
	byID  map[string]ContainerFacts
	addrs map[netip.Addr]string
}

// Apply takes news in. What does not have the id of a container is left out.
func (c *Containers) Apply(n ContainerChange) {
	if n.Full || c.byID == nil {
		c.byID = map[string]ContainerFacts{}
	}
	for _, id := range n.Gone {
		delete(c.byID, id)
	}
	for _, f := range n.Present {
		if _, known := c.byID[f.ID]; IsContainerID(f.ID) && (known || len(c.byID) < maxContainers) {
			c.byID[f.ID] = f
		}
	}
	c.addrs = map[netip.Addr]string{}
	for id, f := range c.byID {
		if !f.Running {
			continue
		}
		for _, net := range f.Networks {
			for _, a := range usable(net.Addrs) {
				// Two that claim one address is the guest's mistake; which of them is
				// told must not depend on the order of a map.
				if have, taken := c.addrs[a]; !taken || id < have {
					c.addrs[a] = id
				}
			}
		}
	}
}

// Get returns the container with that full id.
func (c *Containers) Get(id string) (ContainerFacts, bool) {
	f, ok := c.byID[id]
	return f, ok
}

// At returns the running container that has an address.
func (c *Containers) At(addr netip.Addr) (ContainerFacts, bool) { return c.Get(c.addrs[addr.Unmap()]) }

// Binds are the bind sources of the containers that run, each once, in the order
// of their paths.
func (c *Containers) Binds() []string {
	var out []string
	for _, f := range c.byID {
		if f.Running {
			out = append(out, f.Binds...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Find returns the containers that ref can mean, as engines resolve it: the one
// with that id, else the one with that name, else all whose id begins so.
func (c *Containers) Find(ref string) []ContainerFacts {
	if f, ok := c.byID[ref]; ok {
		return []ContainerFacts{f}
	}
	name := strings.TrimPrefix(ref, "/")
	var found []ContainerFacts
	for id, f := range c.byID {
		if strings.TrimPrefix(f.Name, "/") == name {
			return []ContainerFacts{f}
		}
		if ref != "" && strings.HasPrefix(id, ref) {
			found = append(found, f)
		}
	}
	return found
}

// Named returns a status with the container that its rule leads to: the rule's
// owner if that is known, else whoever has the target's address.
func (c *Containers) Named(s ForwardStatus) ForwardStatus {
	f, ok := c.Get(s.Rule.Owner)
	if !ok && s.Rule.Owner == "" {
		f, ok = c.At(s.Rule.Target.Addr())
	}
	if ok {
		s.Rule.Owner, s.Container = f.ID, Printable(strings.TrimPrefix(f.Name, "/"), maxDNSName)
	}
	return s
}

// Waits says whether a client that waits for the start of ref waits for rule. A
// container that is not known yet, or not told, may be any.
func (c *Containers) Waits(ref string, rule ForwardRule) bool {
	found := c.Find(ref)
	for _, f := range found {
		if f.Requests(rule) {
			return true
		}
	}
	return len(found) == 0
}
