package usernet

import "gvisor.dev/gvisor/pkg/tcpip"

// Bounds of what the stack holds for one direction of a TCP connection, bytes:
// a peer that does not read, or a guest that sends to one, fills it all.
const (
	mostRoom  = 4 << 20
	leastRoom = 32 << 10
	// sharedRoom is what so few connections share that each has mostRoom.
	sharedRoom = 64 << 20
)

// roomFor is the share of a connection that comes to open others. It falls with
// their number, so that a thousand that are stuck hold 350 MB in a direction and
// not gigabytes; those that came before keep theirs.
func roomFor(open uint64) int64 {
	return int64(min(max(sharedRoom/(open+1), leastRoom), mostRoom))
}

// limitRoom gives ep, which is connected, its share and returns it.
func (n *Network) limitRoom(ep tcpip.Endpoint) int64 {
	room := roomFor(n.stack.Stats().TCP.CurrentConnected.Value())
	if room < mostRoom { // which the stack gives by itself
		ep.SocketOptions().SetSendBufferSize(room, true)
		ep.SocketOptions().SetReceiveBufferSize(room, true)
	}
	return room
}
