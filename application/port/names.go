package port

import (
	"context"
	"net/netip"

	"arcbox/domain"
)

// Names is the table of local names (a driving port, implemented by
// application/containers). Its methods never wait.
type Names interface {
	// Lookup returns the addresses of name, which is relative to
	// network.domain; false for a name that does not exist. A name below that
	// of a container is that container's.
	Lookup(name string) ([]netip.Addr, bool)
	// Reverse returns the name, relative to network.domain, of an address;
	// false when no container has it.
	Reverse(addr netip.Addr) (string, bool)
}

// Resolver answers DNS messages (a driving port: the gateway of a machine's
// network and the host's server ask it).
type Resolver interface {
	// Resolve answers one message in wire format that came by UDP or TCP. It may
	// be called from many goroutines and returns when ctx ends. With an error,
	// or no bytes, the sender gets no answer; the error wraps domain.ErrInvalid
	// for bytes that deserve none.
	Resolve(ctx context.Context, query []byte, via domain.Protocol) ([]byte, error)
}
