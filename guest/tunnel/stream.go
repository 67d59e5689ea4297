//go:build linux

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"arcbox/api/stream"
	"arcbox/domain"
)

// The bounds of opening one stream: its header comes in the first packet, and
// a local or container address answers at once or not at all.
const (
	headerTimeout = 10 * time.Second
	dialTimeout   = 10 * time.Second
)

// ToStream returns an Open that reads a stream header from the client,
// connects to the address that it names, and answers with a status byte.
// allowed says which addresses may be connected to.
func ToStream(allowed func(netip.Addr) bool) func(context.Context, Conn) (Conn, error) {
	return func(ctx context.Context, client Conn) (Conn, error) {
		c, status, err := openStream(ctx, client, allowed)
		if _, werr := client.Write([]byte{byte(status)}); werr != nil && err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("answer the stream header: %w", werr)
		}
		return c, err
	}
}

func openStream(ctx context.Context, client Conn, allowed func(netip.Addr) bool) (Conn, stream.Status, error) {
	if err := client.SetReadDeadline(time.Now().Add(headerTimeout)); err != nil {
		return nil, stream.StatusMalformed, err
	}
	h, status, err := stream.Read(client)
	if err != nil {
		return nil, status, err
	}
	if err := client.SetReadDeadline(time.Time{}); err != nil {
		return nil, stream.StatusMalformed, err
	}
	if h.Network != stream.NetworkTCP {
		return nil, stream.StatusUnsupported, fmt.Errorf("stream network %d: %w", h.Network, domain.ErrUnsupported)
	}
	to, err := netip.ParseAddrPort(h.Address)
	if err != nil || to.Port() == 0 {
		return nil, stream.StatusMalformed, fmt.Errorf("stream address %q: want ip:port: %w", h.Address, domain.ErrInvalid)
	}
	if !allowed(to.Addr().Unmap()) {
		return nil, stream.StatusForbidden, fmt.Errorf("stream address %s: %w", to, domain.ErrPermission)
	}
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "tcp", to.String())
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, stream.StatusRefused, err
	case err != nil:
		return nil, stream.StatusUnreachable, err
	}
	return c.(*net.TCPConn), stream.StatusOK, nil
}

// OwnNetworks allows loopback and the networks of this machine's own bridges:
// every interface's network except that of uplink, through which the rest of
// the world would be reached.
func OwnNetworks(uplink string) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		if a.IsLoopback() {
			return true
		}
		interfaces, err := net.Interfaces()
		if err != nil {
			return false
		}
		for _, i := range interfaces {
			if i.Name == uplink {
				continue
			}
			addrs, err := i.Addrs()
			if err != nil {
				continue
			}
			for _, addr := range addrs {
				if p, err := netip.ParsePrefix(addr.String()); err == nil && p.Masked().Contains(a) {
					return true
				}
			}
		}
		return false
	}
}
