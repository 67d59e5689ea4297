// Package vhostuser is a virtio vsock device (VIRTIO 1.2, section 5.10) served
// in this process over the vhost-user protocol. A hypervisor connects to it
// through a socket pair, hands over the guest's memory and the virtqueues, and
// the guest's ordinary vsock driver then exchanges packets with this process.
//
// The layers, from the socket to the stream:
//
//	message.go, dispatch.go   framing and requests of the front-end
//	memory.go, dirtylog.go    the guest's memory and the migration log
//	trim.go                   giving up pages of it that are not used any more
//	queue.go, ring.go         life of a virtqueue, the split ring itself
//	packet.go, mux.go         vsock packets and the table of streams
//	outbox.go                 what waits for receive buffers of the guest
//	credit.go, recvbuf.go     flow control in both directions
//	stream.go, deadline.go    the net.Conn
//
// Neither the guest nor the front-end is trusted: everything they write is
// checked before it is used, and all memory they can make this process hold is
// bounded.
//
// Locks are taken in this order: tx queue, rx queue, multiplexer, stream. No
// lock is held during a system call that a peer can delay.
package vhostuser
