package port

import (
	"os"

	"arcbox/domain"
)

// VsockDevices makes the vsock device of a machine on hosts whose hypervisor
// has none of its own.
type VsockDevices interface {
	// Open prepares a device for one run of the machine. The caller owns it and
	// closes it when the machine is down.
	Open(name domain.MachineName) (VsockDevice, error)
}

// VsockDevice is the host side of one machine's vsock.
type VsockDevice interface {
	Dialer
	// CID is the guest's context id, 3 or larger.
	CID() uint32
	// VhostUser is the hypervisor's end of a vhost-user connection to this
	// device, or nil when the host kernel serves the device (vhost-vsock). The
	// device keeps ownership: it closes the file on Close; the hypervisor
	// inherits a duplicate.
	VhostUser() *os.File
	// Close ends every stream and releases the device.
	Close() error
}
