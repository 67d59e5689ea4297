package usernet

import "sync/atomic"

// Counters is a snapshot of what a Network has seen. All but the two gauges
// only grow.
type Counters struct {
	// RxFrames counts frames from the guest. RxShort, RxLong and RxForeign are
	// those of them that were dropped for their size, or for an address or
	// protocol that the guest may not use.
	RxFrames, RxShort, RxLong, RxForeign uint64
	// RxOffload are those of them whose virtio-net header asks for what makes no
	// sense.
	RxOffload uint64
	// TxFull counts packets dropped because the hypervisor did not read, TxDown
	// those sent while there was none, TxUnfit frames that the guest has offered
	// too short a buffer for.
	TxFull, TxDown, TxUnfit uint64
	// TCPFlows and UDPFlows are gauges: the guest's flows to the host's side.
	TCPFlows, UDPFlows uint64
	// Refused counts flows to where the guest has no business.
	Refused uint64
	// ConnectLimit, TCPLimit, UDPLimit, PingLimit and QueryLimit count what a
	// limit of Config turned away.
	ConnectLimit, TCPLimit, UDPLimit, PingLimit, QueryLimit uint64
	// UDPDropped counts datagrams that one side could not take.
	UDPDropped uint64
}

type counters struct {
	rxFrames, rxShort, rxLong, rxForeign, rxOffload, txFull, txDown, txUnfit atomic.Uint64

	refused, tcpLimit, udpLimit, pingLimit, queryLimit, udpDropped atomic.Uint64

	tcpFlows, udpFlows atomic.Int64
}

// Counters returns what n has counted so far. It may be called at any time.
func (n *Network) Counters() Counters {
	c := &n.counts
	return Counters{
		RxFrames: c.rxFrames.Load(), RxShort: c.rxShort.Load(), RxLong: c.rxLong.Load(), RxForeign: c.rxForeign.Load(),
		RxOffload: c.rxOffload.Load(),
		TxFull:    c.txFull.Load(), TxDown: c.txDown.Load(), TxUnfit: c.txUnfit.Load(),
		TCPFlows: uint64(max(0, c.tcpFlows.Load())), UDPFlows: uint64(max(0, c.udpFlows.Load())),
		Refused:      c.refused.Load(),
		ConnectLimit: n.stack.Stats().TCP.ForwardMaxInFlightDrop.Value(),
		TCPLimit:     c.tcpLimit.Load(), UDPLimit: c.udpLimit.Load(),
		PingLimit: c.pingLimit.Load(), QueryLimit: c.queryLimit.Load(),
		UDPDropped: c.udpDropped.Load(),
	}
}

// acquire takes one of limit places in gauge; without one left it counts that.
func acquire(gauge *atomic.Int64, limit int, bites *atomic.Uint64) bool {
	if gauge.Add(1) > int64(limit) {
		gauge.Add(-1)
		bites.Add(1)
		return false
	}
	return true
}
