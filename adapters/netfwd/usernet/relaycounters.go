package usernet

import "sync/atomic"

// RelayCounters is a snapshot of what Relay has moved and dropped. All but
// Connected only grow.
type RelayCounters struct {
	Connected bool // a device is connected
	// What went through, in IP packets and their bytes.
	ToGuest, ToGuestBytes, ToHost, ToHostBytes uint64
	// Malformed counts what the host sent and is no IP packet, Foreign packets
	// of either side whose addresses are not of the two sides, Long those above
	// the guest's MTU, Refused those that would tell the host how to route.
	Malformed, Foreign, Long, Refused uint64
	// Down counts packets for a guest that is not there, GuestFull those for one
	// that did not read, DeviceFull those that the host did not take.
	Down, GuestFull, DeviceFull uint64
}

type relayCounters struct {
	toGuest, toGuestBytes, toHost, toHostBytes                     atomic.Uint64
	malformed, foreign, long, refused, down, guestFull, deviceFull atomic.Uint64
}

// RelayCounters returns what Relay has counted so far. It may be called at any
// time.
func (n *Network) RelayCounters() RelayCounters {
	c := &n.relayed
	return RelayCounters{
		Connected: n.relay.Load() != nil,
		ToGuest:   c.toGuest.Load(), ToGuestBytes: c.toGuestBytes.Load(),
		ToHost: c.toHost.Load(), ToHostBytes: c.toHostBytes.Load(),
		Malformed: c.malformed.Load(), Foreign: c.foreign.Load(), Long: c.long.Load(), Refused: c.refused.Load(),
		Down: c.down.Load(), GuestFull: c.guestFull.Load(), DeviceFull: c.deviceFull.Load(),
	}
}
