package netfwd

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"

	"arcbox/adapters/netfwd/usernet"
	"arcbox/application/port"
)

// GuestDialer is what a link offers beside port.NetworkLink: connections to
// the guest and to what lies behind it.
type GuestDialer interface {
	// DialTCP connects to an address on the guest's side. The error is a
	// *net.OpError around ctx's error, net.ErrClosed, or a syscall.Errno such as
	// ECONNREFUSED. The connection has CloseWrite; its owner closes it.
	DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	// DialUDP returns a connected datagram socket, with the same errors.
	DialUDP(to netip.AddrPort) (net.Conn, error)
	port.Surroundings
}

// Link is one machine's wire; it implements port.NetworkLink, port.Forwarder,
// port.Surroundings and GuestDialer.
type Link struct {
	cfg     usernet.Config
	net     *usernet.Network
	file    *os.File
	detach  func()
	serving sync.WaitGroup
	end     context.CancelFunc // of what runs beside the network
	closing sync.Once
	err     error

	forwards forwards
}

var (
	_ port.NetworkLink = (*Link)(nil)
	_ GuestDialer      = (*Link)(nil)
)

// File is for the hypervisor, until Close; see port.NetworkLink. A socket is in
// blocking mode.
func (l *Link) File() *os.File { return l.file }

// MAC is the guest's address.
func (l *Link) MAC() [6]byte { return l.cfg.GuestMAC }

// MTU is the largest packet, bytes.
func (l *Link) MTU() int { return l.cfg.MTU }

// DialTCP implements GuestDialer.
func (l *Link) DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	c, err := l.net.DialTCP(ctx, to)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// DialUDP implements GuestDialer.
func (l *Link) DialUDP(to netip.AddrPort) (net.Conn, error) { return l.net.DialUDP(to) }

// SetBehind implements port.Surroundings. On a network without IPv6 such prefixes
// are left out.
func (l *Link) SetBehind(prefixes []netip.Prefix) error {
	if !l.cfg.Gateway6.IsValid() {
		prefixes = onlyIPv4(prefixes)
	}
	return l.net.SetBehind(prefixes)
}

// Counters returns what the network has counted.
func (l *Link) Counters() usernet.Counters { return l.net.Counters() }

// Close closes the forwards, resets every flow and returns when nothing of the
// network runs. Later calls return what the first one did.
func (l *Link) Close() error {
	l.closing.Do(func() {
		l.forwards.close()
		l.end()
		l.detach()
		l.err = l.net.Close()
		l.serving.Wait()
		if err := l.file.Close(); l.err == nil {
			l.err = err
		}
	})
	return l.err
}
