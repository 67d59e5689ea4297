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
	// File is the hypervisor's end of a socket pair that carries Ethernet
	// frames; on a stream socket each frame follows a 4-byte big-endian length.
	// The link keeps ownership; the hypervisor inherits a duplicate.
	File() *os.File
	// MAC is the guest's address, six bytes; MTU the largest packet, bytes.
	MAC() [6]byte
	MTU() int
	// Close resets every flow and returns when nothing of the network runs.
	Close() error
}
