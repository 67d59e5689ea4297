package domain

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// NameTable answers names with the addresses of those who claim them, and
// addresses with names. It is immutable: a change makes a new table, so readers
// of an old one are never blocked and never see half a change. Old and new
// share what did not change. The zero value is empty.
//
// Invariant: names and addrs hold exactly the claims of owners; what nobody
// claims is not in them.
type NameTable struct {
	owners shards[nameOwner]
	names  shards[[]ownedClaim]
	addrs  shards[[]string] // the owners of an address's claims
	made   uint64           // changes so far, for nameOwner.since
}

// nameOwner is what one owner claims, and since which change. Older claims are
// answered first.
type nameOwner struct {
	since  uint64
	claims []NameClaim
}

type ownedClaim struct {
	owner string
	claim NameClaim
}

// Replace returns a table in which claims are all that owner has. Without
// claims the owner is gone. The same claims again keep their place.
func (t NameTable) Replace(owner string, claims []NameClaim) NameTable {
	old, had := t.owners.get(owner)
	if slices.Equal(old.claims, claims) {
		return t
	}
	owners, names, addrs := t.owners.edit(), t.names.edit(), t.addrs.edit()
	if had {
		owners.remove(owner)
		for _, c := range old.claims {
			held := slices.DeleteFunc(slices.Clone(names.get(c.Name)), func(h ownedClaim) bool { return h.owner == owner })
			names.setOrRemove(c.Name, held, len(held) > 0)
			key := addrKey(c.Addr)
			by := slices.DeleteFunc(slices.Clone(addrs.get(key)), func(o string) bool { return o == owner })
			addrs.setOrRemove(key, by, len(by) > 0)
		}
	}
	if len(claims) > 0 {
		t.made++
		owners.set(owner, nameOwner{t.made, slices.Clone(claims)})
		for _, c := range claims {
			// Clip, because the array may be shared with the older table.
			names.set(c.Name, append(slices.Clip(names.get(c.Name)), ownedClaim{owner, c}))
			if key := addrKey(c.Addr); !slices.Contains(addrs.get(key), owner) {
				addrs.set(key, append(slices.Clip(addrs.get(key)), owner))
			}
		}
	}
	return NameTable{owners.shards, names.shards, addrs.shards, t.made}
}

// ReplaceAll returns a table in which claims, by owner, is all that there is.
// Owners whose claims are the same keep their place; the others follow in the
// order of their ids. It costs one pass, however many claims there are.
func (t NameTable) ReplaceAll(claims map[string][]NameClaim) NameTable {
	all := make(map[string]nameOwner, len(claims))
	for _, owner := range slices.Sorted(maps.Keys(claims)) {
		list := claims[owner]
		if len(list) == 0 {
			continue
		}
		if old, ok := t.owners.get(owner); ok && slices.Equal(old.claims, list) {
			all[owner] = old
			continue
		}
		t.made++
		all[owner] = nameOwner{t.made, slices.Clone(list)}
	}
	type aged struct {
		id string
		nameOwner
	}
	byAge := make([]aged, 0, len(all))
	for id, o := range all {
		byAge = append(byAge, aged{id, o})
	}
	slices.SortFunc(byAge, func(a, b aged) int { return cmp.Compare(a.since, b.since) })
	owners, names, addrs := shards[nameOwner]{}.edit(), shards[[]ownedClaim]{}.edit(), shards[[]string]{}.edit()
	for _, o := range byAge {
		owners.set(o.id, o.nameOwner)
		for _, c := range o.claims {
			names.set(c.Name, append(names.get(c.Name), ownedClaim{o.id, c})) // shared with no older table
			key := addrKey(c.Addr)
			if by := addrs.get(key); len(by) == 0 || by[len(by)-1] != o.id { // an owner's claims come together
				addrs.set(key, append(by, o.id))
			}
		}
	}
	return NameTable{owners.shards, names.shards, addrs.shards, t.made}
}

// Remove returns a table without the owner. Names that others claim too are
// answered with their addresses from now on.
func (t NameTable) Remove(owner string) NameTable { return t.Replace(owner, nil) }

// Lookup returns the addresses of a name (relative to the domain, any case),
// oldest claim first and each once. A name that nobody claims is answered as
// the longest one that it is below of: "api.web" as "web". It is empty when
// there is none either.
func (t NameTable) Lookup(name string) []netip.Addr {
	if len(name) > maxDNSName { // bounds the work: no claim is longer, and a name has fewer labels than bytes
		return nil
	}
	name = strings.ToLower(name)
	for {
		if held, ok := t.names.get(name); ok {
			return claimed(held)
		}
		var below bool
		if _, name, below = strings.Cut(name, "."); !below {
			return nil
		}
	}
}

// claimed are the addresses that own names give, or aliases where there is no
// own name.
func claimed(held []ownedClaim) []netip.Addr {
	alias := !slices.ContainsFunc(held, func(c ownedClaim) bool { return !c.claim.Alias })
	out := make([]netip.Addr, 0, len(held))
	seen := make(map[netip.Addr]bool, len(held))
	for _, c := range held {
		if c.claim.Alias == alias && !seen[c.claim.Addr] {
			seen[c.claim.Addr] = true
			out = append(out, c.claim.Addr)
		}
	}
	return out
}

// Reverse returns the name of an address: the first that the address's oldest
// owner claims for itself, or an alias when it claims none.
func (t NameTable) Reverse(addr netip.Addr) (string, bool) {
	owners, _ := t.addrs.get(addrKey(addr))
	var best string
	rank := 3
	for _, o := range owners {
		owner, _ := t.owners.get(o)
		for _, c := range owner.claims {
			// On a second network only aliases have the container's address, and its
			// own name still says better who that is.
			r := 2
			here := addrKey(c.Addr) == addrKey(addr)
			switch {
			case !c.Alias && here:
				return c.Name, true
			case !c.Alias:
				r = 1
			case !here:
				continue
			}
			if r < rank {
				best, rank = c.Name, r
			}
		}
	}
	return best, rank < 3
}

// addrKey is the form in which addresses are compared.
func addrKey(a netip.Addr) string {
	b := a.Unmap().As16()
	return string(b[:])
}

// Owners lists everyone who has a claim, sorted.
func (t NameTable) Owners() []string { return t.owners.keys() }

// Names lists every name that is claimed, sorted.
func (t NameTable) Names() []string { return t.names.keys() }
