//go:build linux

package device

// sendCredit is how much the peer of a stream can take (VIRTIO 1.2, section
// 5.10.6.3). All counters wrap at 2^32.
type sendCredit struct {
	alloc, fwd uint32 // the peer's receive space, and what its reader took of it
	sent       uint32
}

// update takes what a packet of the peer says. It is false when the peer
// claims to have read more than was ever sent.
func (c *sendCredit) update(alloc, fwd uint32) bool {
	if int32(c.sent-fwd) < 0 {
		return false
	}
	c.alloc, c.fwd = alloc, fwd
	return true
}

// room is the number of bytes that may be sent now. A peer that shrinks its
// space below what is on the way leaves none.
func (c *sendCredit) room() uint32 {
	used := c.sent - c.fwd
	if used >= c.alloc {
		return 0
	}
	// Less than half of the number space may be on the way, or update could
	// not tell a lie from a wrap.
	return min(c.alloc, 1<<30) - min(used, min(c.alloc, 1<<30))
}
