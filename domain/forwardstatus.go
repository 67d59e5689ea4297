package domain

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// ForwardState is what became of a forward.
type ForwardState string

// Forward states.
const (
	// ForwardActive: the host listens.
	ForwardActive ForwardState = "active"
	// ForwardConflict: somebody else has the host's port. It is tried again, and
	// taken when it is free.
	ForwardConflict ForwardState = "conflict"
	// ForwardRefused: this host cannot listen there, and trying again does not
	// help: no right to the port, no such address, no IPv6.
	ForwardRefused ForwardState = "refused"
)

// ForwardStats counts what went through one forward since it was opened.
type ForwardStats struct {
	// Flows are the TCP connections and UDP sessions that are open now, Total
	// all that there ever were.
	Flows, Total uint64
	// Limited are the ones that were turned away because there were too many,
	// Failed those whose container could not be reached.
	Limited, Failed uint64
	// In are bytes from the host's clients to the container, Out the others.
	In, Out uint64
}

// ForwardStatus is one forward as it is shown to the user.
type ForwardStatus struct {
	Rule ForwardRule
	// Container is the name of the container, "" while it is not known.
	Container string
	State     ForwardState
	// Reason says why it is not active, in words for the user.
	Reason string
	Since  time.Time
	Stats  ForwardStats
}

// GuestListener is a listening socket of a container that shares the guest's
// own network (--network host).
type GuestListener struct {
	// Container is the full id of the container.
	Container string
	Protocol  Protocol
	// Addr is where the socket listens in the guest; an unspecified address
	// means every address of its family, and of both for a dual-stack socket.
	Addr netip.AddrPort
	// DualStack marks a socket on :: that takes IPv4 as well.
	DualStack bool
}

// SortForwards sorts by the host's address and port, then by what they lead to.
func SortForwards(list []ForwardStatus) {
	slices.SortFunc(list, func(a, b ForwardStatus) int {
		return cmp.Or(compareRules(a.Rule, b.Rule), cmp.Compare(a.State, b.State))
	})
}
