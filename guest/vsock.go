//go:build linux

package guest

import (
	"errors"
	"net"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

// listenVsock opens a vsock port for the host. The port is reachable from
// inside the guest too, by any process, also one of a container, over the
// guest's own address: those are turned away, because what is served here
// commands the whole guest.
func listenVsock(port uint32) (net.Listener, error) {
	l, err := vsock.ListenContextID(unix.VMADDR_CID_ANY, port, nil)
	if err != nil {
		return nil, err
	}
	return fromHost{l, vsock.Host}, nil
}

// fromHost hands out connections of one context id only.
type fromHost struct {
	net.Listener
	host uint32
}

func (l fromHost) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			if isClosed(err) {
				return nil, net.ErrClosed
			}
			return nil, err
		}
		if a, ok := c.RemoteAddr().(*vsock.Addr); ok && a.ContextID == l.host {
			return c, nil
		}
		_ = c.Close()
	}
}

// isClosed reports whether an accept failed because the listener is closed,
// which the vsock library tells in more than one way.
func isClosed(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EBADF)
}
