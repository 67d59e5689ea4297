package containers

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"arcbox/application/port"
	"arcbox/domain"
)

// maxNamed bounds the containers that have names; guests make them.
const maxNamed = 8192

// Names is the table of local names. Reading it is one atomic load.
type Names struct {
	table atomic.Pointer[domain.NameTable]

	mu     sync.Mutex // of those who change it
	claims map[domain.Role]map[string][]domain.NameClaim
}

var _ port.Names = (*Names)(nil)

// NewNames returns an empty table.
func NewNames() *Names {
	n := &Names{claims: map[domain.Role]map[string][]domain.NameClaim{}}
	n.table.Store(&domain.NameTable{})
	return n
}

// Lookup implements port.Names.
func (n *Names) Lookup(name string) ([]netip.Addr, bool) {
	addrs := n.table.Load().Lookup(name)
	return addrs, len(addrs) > 0
}

// Reverse implements port.Names.
func (n *Names) Reverse(addr netip.Addr) (string, bool) { return n.table.Load().Reverse(addr) }

// learn takes news of a role's containers in; readers see all of it or nothing.
func (n *Names) learn(role domain.Role, c domain.ContainerChange) {
	n.mu.Lock()
	defer n.mu.Unlock()
	claims := n.claims[role]
	if c.Full || claims == nil {
		claims = map[string][]domain.NameClaim{}
		n.claims[role] = claims
	}
	table := *n.table.Load()
	put := func(id string, c []domain.NameClaim) {
		delete(claims, id)
		if len(c) > 0 && len(claims) < maxNamed {
			claims[id] = c
		}
		table = table.Replace(owner(role, id), claims[id])
	}
	if c.Full {
		put = func(id string, c []domain.NameClaim) {
			if len(c) > 0 && len(claims) < maxNamed {
				claims[id] = c
			}
		}
	}
	for _, id := range c.Gone {
		put(id, nil)
	}
	for _, f := range c.Present {
		var wanted []domain.NameClaim
		if f.Running && domain.IsContainerID(f.ID) {
			wanted = domain.ContainerNames(f)
		}
		put(f.ID, wanted)
	}
	if c.Full {
		table = n.all(table)
	}
	n.table.Store(&table)
}

// forget takes a role's containers out.
func (n *Names) forget(role domain.Role) {
	n.learn(role, domain.ContainerChange{Full: true})
}

// all is old with exactly the claims of every role. n.mu is held.
func (n *Names) all(old domain.NameTable) domain.NameTable {
	all := map[string][]domain.NameClaim{}
	for role, claims := range n.claims {
		for id, c := range claims {
			all[owner(role, id)] = c
		}
	}
	return old.ReplaceAll(all)
}

func owner(role domain.Role, id string) string { return string(role) + "/" + id }
