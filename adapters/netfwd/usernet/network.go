package usernet

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/icmp"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	nicmp "gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"arcbox/domain"
)

const (
	nicID   = 1
	dnsPort = 53
)

// Network is the gateway of one virtual machine. Its methods may be called
// from any goroutine. Whoever made it closes it.
type Network struct {
	cfg    Config
	stack  *stack.Stack
	link   *link
	policy atomic.Pointer[policy]
	counts counters
	pools  pools
	dials  atomic.Uint32 // by DialTCP

	relay   atomic.Pointer[hostRelay] // of the host's interface that is connected
	relayed relayCounters

	pings, queries chan struct{} // a place for each that is in flight

	life   context.Context // of the network's flows, ended by Close
	cancel context.CancelFunc

	mu         sync.Mutex
	closed     bool
	serving    bool
	handshakes map[*waiter.Queue]struct{}
	wg         sync.WaitGroup
}

// New builds the network. Nothing moves before Serve. The error wraps
// domain.ErrInvalid when cfg is not usable.
func New(cfg Config) (*Network, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if err := checkBehind(&cfg, cfg.Behind); err != nil {
		return nil, err
	}
	return build(cfg)
}

func build(cfg Config) (*Network, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.ListenPing == nil {
		cfg.ListenPing = func(network string) (net.PacketConn, error) { return icmp.ListenPacket(network, "") }
	}
	n := &Network{
		cfg:        cfg,
		pings:      make(chan struct{}, cfg.MaxPings),
		queries:    make(chan struct{}, cfg.MaxQueries),
		handshakes: make(map[*waiter.Queue]struct{}),
	}
	n.life, n.cancel = context.WithCancel(context.Background())
	n.link = newLink(n)
	n.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			arp.NewProtocol, ipv4.NewProtocol,
			// Without duplicate address detection the addresses are usable at once.
			ipv6.NewProtocolWithOptions(ipv6.Options{DADConfigs: stack.DADConfigurations{}}),
		},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocolCUBIC, udp.NewProtocol, nicmp.NewProtocol4, nicmp.NewProtocol6,
		},
	})
	if err := n.setup(); err != nil {
		n.Close()
		return nil, fmt.Errorf("set up the network stack: %w", err)
	}
	return n, nil
}

func (n *Network) setup() error {
	if err := n.setTCPOptions(); err != nil {
		return err
	}
	if e := n.stack.CreateNIC(nicID, n.link); e != nil {
		return stackError("create the interface", e)
	}
	if err := n.addAddress(n.cfg.Gateway4, n.cfg.Subnet4.Bits()); err != nil {
		return err
	}
	if n.cfg.hasIPv6() {
		if err := n.addAddress(n.cfg.Gateway6, n.cfg.Subnet6.Bits()); err != nil {
			return err
		}
		if err := n.addAddress(gatewayLinkLocal(), linkLocalPrefix().Bits()); err != nil {
			return err
		}
	}
	if err := n.setBehind(n.cfg.Behind); err != nil {
		return err
	}
	// Promiscuous: accept packets for any address, which is what the forwarders
	// take. Spoofing: answer from those addresses.
	if e := n.stack.SetPromiscuousMode(nicID, true); e != nil {
		return stackError("accept every destination", e)
	}
	if e := n.stack.SetSpoofing(nicID, true); e != nil {
		return stackError("answer from every address", e)
	}
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber,
		tcp.NewForwarder(n.stack, 0, n.cfg.MaxConnecting, n.forwardTCP).HandlePacket)
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(n.stack, n.forwardUDP).HandlePacket)
	n.setPingHandlers()
	if n.cfg.DNS != nil {
		return n.startDNS()
	}
	return nil
}

func (n *Network) addAddress(a netip.Addr, bits int) error {
	proto := header.IPv4ProtocolNumber
	if a.Is6() {
		proto = header.IPv6ProtocolNumber
	}
	e := n.stack.AddProtocolAddress(nicID, tcpip.ProtocolAddress{
		Protocol:          proto,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: toAddr(a), PrefixLen: bits},
	}, stack.AddressProperties{})
	if e != nil {
		return stackError(fmt.Sprintf("add address %s", a), e)
	}
	return nil
}

func (n *Network) setTCPOptions() error {
	timeWait := tcpip.TCPTimeWaitTimeoutOption(n.cfg.TimeWait)
	maxRTO := tcpip.TCPMaxRTOOption(n.cfg.MaxRTO)
	// With a short MaxRTO the default of 15 would give up on a machine that is
	// paused for a minute. A machine that is gone takes its Network with it.
	retries := tcpip.TCPMaxRetriesOption(100)
	// RACK's tail probes only retransmit in vain on a wire that loses nothing.
	recovery := tcpip.TCPRecovery(0)
	// The largest size too, which bounds what the stack raises by itself.
	send := tcpip.TCPSendBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: mostRoom, Max: mostRoom}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcp.MinBufferSize, Default: mostRoom, Max: mostRoom}
	for _, o := range []tcpip.SettableTransportProtocolOption{&timeWait, &maxRTO, &retries, &recovery, &send, &receive} {
		if e := n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, o); e != nil {
			return stackError(fmt.Sprintf("set %T", o), e)
		}
	}
	return nil
}

// Stats returns the stack's own counters. It may be called at any time.
func (n *Network) Stats() tcpip.Stats { return n.stack.Stats() }

// Close resets every flow, ends Serve, and returns when no goroutine of n is
// left. Later calls do nothing.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	n.mu.Unlock()
	n.cancel()
	n.stack.Close()
	done := make(chan struct{})
	go func() { n.wg.Wait(); close(done) }()
	for waiting := true; waiting; {
		n.wakeHandshakes()
		select {
		case <-done:
			waiting = false
		case <-time.After(10 * time.Millisecond):
		}
	}
	n.stack.Close() // whatever was made while the first call went through
	n.stack.Wait()
	return nil
}

// wakeHandshakes ends the waits of the TCP forwarder for a guest that may
// never finish its handshake: it waits on the queue alone.
func (n *Network) wakeHandshakes() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for wq := range n.handshakes {
		wq.Notify(waiter.WritableEvents)
	}
}

// start runs f in a goroutine that Close waits for; false after Close.
func (n *Network) start(f func()) bool {
	if !n.enter() {
		return false
	}
	go func() { defer n.wg.Done(); f() }()
	return true
}

// enter counts the caller's goroutine for Close until n.wg.Done; false after Close.
func (n *Network) enter() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.wg.Add(1)
	return true
}

func stackError(doing string, e tcpip.Error) error {
	return fmt.Errorf("%s: %s: %w", doing, e, domain.ErrInvalidState)
}

func toAddr(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

func toAddrPort(a tcpip.Address, port uint16) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(a.AsSlice())
	return netip.AddrPortFrom(ip, port)
}

func toFull(a netip.AddrPort) (tcpip.FullAddress, tcpip.NetworkProtocolNumber) {
	ip := a.Addr().Unmap()
	proto := ipv4.ProtocolNumber
	if ip.Is6() {
		proto = ipv6.ProtocolNumber
	}
	return tcpip.FullAddress{NIC: nicID, Addr: toAddr(ip), Port: a.Port()}, proto
}
