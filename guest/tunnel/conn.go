package tunnel

import (
	"net"
	"syscall"
)

// Conn is a stream whose directions end independently, as Unix, TCP and vsock
// connections are.
type Conn interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}
