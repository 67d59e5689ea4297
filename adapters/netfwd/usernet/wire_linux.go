package usernet

import "net"

func (n *Network) openWire(conn *net.UnixConn) (wire, error) {
	if n.cfg.Framing == Datagram {
		return newDatagramWire(conn, n.cfg.SocketBuffer)
	}
	return newCard(conn, n.cfg.Log, &n.counts), nil
}
