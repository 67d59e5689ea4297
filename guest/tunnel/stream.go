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

// Streams says where the connections of the stream port may lead.
type Streams struct {
	// Allowed says which addresses may be connected to.
	Allowed func(netip.Addr) bool
	// Accept hands over the connection that waits for the host under id, which
	// belongs to the caller from then on; nil when none does.
	Accept func(id string) Conn
}

// ToStream returns an Open that reads a stream header from the client,
// connects to what it names, and answers with a status byte.
func ToStream(to Streams) func(context.Context, Conn) (Conn, error) {
	return func(ctx context.Context, client Conn) (Conn, error) {
		c, status, err := openStream(ctx, client, to)
		if _, werr := client.Write([]byte{byte(status)}); werr != nil && err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("answer the stream header: %w", werr)
		}
		return c, err
	}
}

func openStream(ctx context.Context, client Conn, to Streams) (Conn, stream.Status, error) {
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
	switch h.Network {
	case stream.NetworkTCP:
		return connect(ctx, h.Address, to.Allowed)
	case stream.NetworkAccept:
		if c := to.Accept(h.Address); c != nil {
			return c, stream.StatusOK, nil
		}
		return nil, stream.StatusRefused, fmt.Errorf("no connection %.40q waits for the host: %w", h.Address, domain.ErrNotFound)
	}
	return nil, stream.StatusUnsupported, fmt.Errorf("stream network %d: %w", h.Network, domain.ErrUnsupported)
}

// connect dials a TCP address of this guest or its containers.
func connect(ctx context.Context, address string, allowed func(netip.Addr) bool) (Conn, stream.Status, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil || to.Port() == 0 {
		return nil, stream.StatusMalformed, fmt.Errorf("stream address %q: want ip:port: %w", address, domain.ErrInvalid)
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
