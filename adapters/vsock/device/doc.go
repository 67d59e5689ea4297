// Package device is a virtio vsock device (VIRTIO 1.2, section 5.10) served in
// this process to a hypervisor that speaks vhost-user.
//
//	packet.go, mux.go         vsock packets and the table of streams
//	outbox.go                 what waits for receive buffers of the guest
//	credit.go, recvbuf.go     flow control in both directions
//	stream.go, deadline.go    the net.Conn
//
// The guest is not trusted: everything it writes is checked before it is used,
// and all memory it can make this process hold is bounded.
//
// Locks are taken in this order: tx queue, rx queue, multiplexer, stream. No
// lock is held during a system call that a peer can delay.
package device
