//go:build !linux

package usernet

import (
	"fmt"
	"net"

	"arcbox/domain"
)

func (n *Network) openWire(conn *net.UnixConn) (wire, error) {
	if n.cfg.Framing != Datagram {
		return nil, fmt.Errorf("a network card over vhost-user: %w", domain.ErrUnsupported)
	}
	return newDatagramWire(conn, n.cfg.SocketBuffer)
}
