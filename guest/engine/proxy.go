package engine

import (
	"slices"
	"strings"

	"arcbox/domain"
)

// direct is what no proxy of the host's knows a way to: the guest itself, the
// networks of its containers, and the host's loopback.
func direct() []string {
	return []string{"localhost", "127.0.0.1", "::1", containerNetworks, domain.HostName, "gateway.docker.internal"}
}

// containerNetworks has the pools of dockerd and its default network.
const containerNetworks = "172.16.0.0/12"

// withoutProxy returns p with what has to be reached directly from the guest.
// Without a proxy there is nothing to add.
func withoutProxy(p domain.Proxy) domain.Proxy {
	if !p.Set() {
		return p
	}
	var list []string
	for e := range strings.SplitSeq(p.None, ",") {
		if e = strings.TrimSpace(e); e != "" {
			list = append(list, e)
		}
	}
	if slices.Contains(list, "*") {
		return p
	}
	for _, d := range direct() {
		if !slices.ContainsFunc(list, func(e string) bool { return strings.EqualFold(e, d) }) {
			list = append(list, d)
		}
	}
	p.None = strings.Join(list, ",")
	return p
}
