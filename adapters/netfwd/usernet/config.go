package usernet

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// Framing says how frames come through the socket to the hypervisor.
type Framing int

const (
	// VhostUser is the device behind QEMU's -netdev vhost-user, which this process
	// serves: frames lie in the guest's memory. Only on Linux.
	VhostUser Framing = iota
	// Datagram is one frame per message: macOS' file handle attachment, QEMU's -netdev dgram.
	Datagram
)

// Config describes a Network. DefaultConfig returns a complete one; a zero
// limit or duration is an error, a nil function takes its default.
type Config struct {
	Framing Framing
	// MTU is the largest IP packet, bytes, 1280 to 65520.
	MTU int

	Subnet4          netip.Prefix
	Gateway4, Guest4 netip.Addr
	// Subnet6, Gateway6 and Guest6 are all zero for a network without IPv6.
	Subnet6          netip.Prefix
	Gateway6, Guest6 netip.Addr

	GatewayMAC, GuestMAC [6]byte

	// Behind are the prefixes that are reached through the guest. SetBehind changes
	// them, but not which ones a device of Relay takes packets from.
	Behind []netip.Prefix
	// Host4 and Host6 are where the gateway's addresses lead on the host.
	Host4, Host6 netip.Addr

	// Log receives what the hypervisor asks for that makes no sense; nil discards it.
	Log *slog.Logger
	// DNS answers on port 53 of the gateway, MaxQueries at once at most; nil
	// refuses it.
	DNS port.Resolver
	// Dial opens the host's side of a flow; nil is net.Dialer's. For TCP its
	// connection must be a KernelConn.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// ListenPing opens a socket for echo requests, network "udp4" or "udp6" in
	// the sense of x/net/icmp; nil is that package's unprivileged socket.
	ListenPing func(network string) (net.PacketConn, error)

	// MaxConnecting bounds the TCP connects of the guest that are under way,
	// MaxTCPFlows those and the open ones, MaxUDPFlows the UDP sessions,
	// MaxPings the echo requests and MaxQueries the DNS queries in flight.
	MaxConnecting, MaxTCPFlows, MaxUDPFlows, MaxPings, MaxQueries int
	// QueueBytes is how much is kept for a hypervisor that does not read.
	QueueBytes int
	// SocketBuffer is asked for on the socket, bytes; the kernel may give less.
	SocketBuffer int

	// ConnectTimeout bounds the connect to the host's side and the guest's handshake.
	ConnectTimeout time.Duration
	// UDPIdle ends a UDP session in which nothing has moved; UDPIdleDNS is the
	// one for port 53, where each query is a session of its own.
	UDPIdle, UDPIdleDNS time.Duration
	// PingTimeout is how long the world may take to answer an echo request.
	PingTimeout time.Duration
	// TimeWait is how long a closed TCP connection keeps its port. It must be
	// short: a SYN that reuses the port finds no forwarder before that. On an
	// ordered wire that loses nothing there is no old segment to fear.
	TimeWait time.Duration
	// MaxRTO bounds TCP's retransmission time-out, and so how long a resumed
	// machine waits for data that was sent while it was paused.
	MaxRTO time.Duration
	// KeepaliveIdle and KeepaliveInterval probe connections to the guest; nine
	// unanswered probes end one, a paused machine's too.
	KeepaliveIdle, KeepaliveInterval time.Duration
}

// DefaultConfig returns 10.0.2.0/24 with the gateway at .1 and the guest at .2,
// a unique-local IPv6 prefix beside it, jumbo frames, and Docker's default
// address pools behind the guest.
func DefaultConfig() Config {
	subnet6, gateway6, guest6 := domain.GuestIPv6()
	return Config{
		MTU:        65520,
		Subnet4:    netip.MustParsePrefix("10.0.2.0/24"),
		Gateway4:   netip.MustParseAddr("10.0.2.1"),
		Guest4:     netip.MustParseAddr("10.0.2.2"),
		Subnet6:    subnet6,
		Gateway6:   gateway6,
		Guest6:     guest6,
		GatewayMAC: [6]byte{0x52, 0x54, 0, 0, 2, 1},
		GuestMAC:   [6]byte{0x52, 0x54, 0, 0, 2, 2},
		Behind:     domain.ContainerPools(),
		Host4:      netip.MustParseAddr("127.0.0.1"),
		Host6:      netip.IPv6Loopback(),

		MaxConnecting: 512,
		MaxTCPFlows:   8192,
		MaxUDPFlows:   4096,
		MaxPings:      64,
		MaxQueries:    256,
		QueueBytes:    8 << 20,
		SocketBuffer:  4 << 20,

		ConnectTimeout:    10 * time.Second,
		UDPIdle:           90 * time.Second,
		UDPIdleDNS:        10 * time.Second,
		PingTimeout:       10 * time.Second,
		TimeWait:          100 * time.Millisecond,
		MaxRTO:            5 * time.Second,
		KeepaliveIdle:     5 * time.Minute,
		KeepaliveInterval: time.Minute,
	}
}

const (
	minMTU = 1280  // RFC 8200 section 5
	maxMTU = 65520 // its packets are below 64 KiB
)

func (c *Config) hasIPv6() bool { return c.Gateway6.IsValid() }

func (c *Config) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("network configuration: %s: %w", fmt.Sprintf(format, args...), domain.ErrInvalid)
	}
	if c.Framing != VhostUser && c.Framing != Datagram {
		return bad("unknown framing %d", c.Framing)
	}
	if c.MTU < minMTU || c.MTU > maxMTU {
		return bad("MTU %d is not between %d and %d", c.MTU, minMTU, maxMTU)
	}
	if !c.Gateway4.Is4() || !c.Guest4.Is4() || c.Gateway4 == c.Guest4 ||
		!c.Subnet4.Contains(c.Gateway4) || !c.Subnet4.Contains(c.Guest4) {
		return bad("gateway %s and guest %s must be two IPv4 addresses of %s", c.Gateway4, c.Guest4, c.Subnet4)
	}
	if c.hasIPv6() || c.Guest6.IsValid() || c.Subnet6.IsValid() {
		if !c.Gateway6.Is6() || !c.Guest6.Is6() || c.Gateway6 == c.Guest6 ||
			!c.Subnet6.Contains(c.Gateway6) || !c.Subnet6.Contains(c.Guest6) {
			return bad("gateway %s and guest %s must be two IPv6 addresses of %s", c.Gateway6, c.Guest6, c.Subnet6)
		}
	}
	if !c.Host4.Is4() || c.hasIPv6() && !c.Host6.Is6() {
		return bad("the gateway leads to %s and %s on the host", c.Host4, c.Host6)
	}
	for _, m := range [][6]byte{c.GatewayMAC, c.GuestMAC} {
		if m[0]&1 != 0 || m == [6]byte{} {
			return bad("%s is no station's MAC address", net.HardwareAddr(m[:]))
		}
	}
	for _, n := range []int{c.MaxConnecting, c.MaxTCPFlows, c.MaxUDPFlows, c.MaxPings, c.MaxQueries, c.QueueBytes, c.SocketBuffer} {
		if n <= 0 {
			return bad("every limit must be positive")
		}
	}
	for _, d := range []time.Duration{
		c.ConnectTimeout, c.UDPIdle, c.UDPIdleDNS, c.PingTimeout, c.TimeWait, c.MaxRTO, c.KeepaliveIdle, c.KeepaliveInterval,
	} {
		if d <= 0 {
			return bad("every duration must be positive")
		}
	}
	return nil
}
