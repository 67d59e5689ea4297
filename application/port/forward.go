package port

import (
	"context"
	"net/netip"

	"arcbox/domain"
)

// Forwarder is implemented by links of networks that the daemon itself is the
// gateway of: they open ports of the host that lead to the guest's side.
type Forwarder interface {
	// Forward binds rule.Host and, from then on, carries every TCP connection
	// or UDP session to rule.Target, an address on the guest's side. It returns
	// when the port is bound; the target need not answer yet. ctx bounds the
	// binding only. The errors' texts are for the user of `docker run`:
	// domain.ErrConflict when the port is taken, naming who holds it where that
	// can be known, domain.ErrPermission for a port that needs privileges,
	// domain.ErrUnsupported for an address or family that this host does not
	// have, domain.ErrUnavailable after the link was closed. The caller owns the
	// forward; closing the link closes it too.
	Forward(ctx context.Context, rule domain.ForwardRule) (Forward, error)
}

// Forward is one open port of the host.
type Forward interface {
	Stats() domain.ForwardStats
	// Close frees the port at once, resets what goes through it, and returns
	// when nothing of it runs. It may be called more than once.
	Close() error
}

// Surroundings is implemented by links that can be told what lies behind the
// guest.
type Surroundings interface {
	// SetBehind replaces the prefixes that are reached through the guest. The
	// error wraps domain.ErrInvalid, and then nothing is changed.
	SetBehind(prefixes []netip.Prefix) error
}

// ForwardSource is implemented by sessions with agents whose guest asks for
// forwards.
type ForwardSource interface {
	// Forwards gives the guest's requests to h until ctx ends or the session is
	// over, and then says why. It is called once per session. A stream that
	// broke while the session lives is opened again, and h.Reset called.
	Forwards(ctx context.Context, h ForwardHandler) error
}

// ForwardHandler answers a guest's requests. Its methods are called from any
// goroutine, and for one lease never two at a time.
type ForwardHandler interface {
	// Reset comes first: leases are those that the guest holds already. All
	// others are over.
	Reset(leases []ForwardLease)
	// Bind opens what l asks for; the engine waits, so ctx is short. The error's
	// text becomes part of what the user of `docker run` reads.
	Bind(ctx context.Context, l ForwardLease) error
	// Release ends a lease; it returns when the host's port is free. An unknown
	// id is nothing.
	Release(id string)
	// Listeners replaces the listening sockets of the containers that share the
	// guest's network.
	Listeners(sockets []domain.GuestListener)
}

// ForwardLease is a forward that lasts as long as its proxy in the guest.
type ForwardLease struct {
	// ID is unique within one run of the guest.
	ID string
	// Rule has no Owner: the proxy does not know its container.
	Rule domain.ForwardRule
}

// Forwards tells which ports of the host lead into machines (a driving port,
// implemented by application/containers).
type Forwards interface {
	// Forwards returns all forwards, sorted by address.
	Forwards() []domain.ForwardStatus
	// WatchForwards calls f with all forwards at once and whenever one came,
	// went or changed its state, until ctx ends or f fails. States that f was
	// too slow for are left out; the newest is always told.
	WatchForwards(ctx context.Context, f func([]domain.ForwardStatus) error) error
}
