// Package vhostuser serves virtio devices in this process over the vhost-user
// protocol. A hypervisor connects to a device through a socket, hands over the
// guest's memory and the virtqueues, and the guest's ordinary driver then
// exchanges chains of buffers with this process.
//
//	server.go                 the connection, and what a device is
//	message.go, dispatch.go   framing and requests of the front-end
//	memory.go, dirtylog.go    the guest's memory and the migration log
//	trim.go                   giving up pages of it that are not used any more
//	chains.go                 a virtqueue as a device uses it
//	chain.go, workers.go      answering chains at the same time, in any order
//	queue.go, ring.go         life of a virtqueue, the split ring itself
//	socket.go                 where a hypervisor connects to
//
// Neither the guest nor the front-end is trusted: everything they write is
// checked before it is used, and all memory they can make this process hold is
// bounded. What is in the chains is the device's to check.
package vhostuser
