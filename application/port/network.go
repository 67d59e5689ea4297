package port

import (
	"os"

	"arcbox/domain"
)

// Networks makes the host side of a machine's network.
type Networks interface {
	// Open makes the network of one run of the machine. The caller owns it and
	// closes it when the machine is down.
	Open(name domain.MachineName) (NetworkLink, error)
}

// NetworkLink is one machine's wire to its gateway.
type NetworkLink interface {
	// File is what the hypervisor inherits a duplicate of; the link keeps
	// ownership. Of a datagram socket it is the hypervisor's end, which carries one
	// Ethernet frame per message. Otherwise it stands for a listening socket (it is
	// opened with O_PATH), where the hypervisor connects to /proc/self/fd/N for a
	// network card over vhost-user.
	File() *os.File
	// MAC is the guest's address, six bytes; MTU the largest packet, bytes.
	MAC() [6]byte
	MTU() int
	// Close resets every flow and returns when nothing of the network runs.
	Close() error
}
