package usernet

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	ethLen     = header.EthernetMinimumSize
	gsoMaxSize = 65535 // what an IPv4 packet's length can say
)

// link is the stack's only network interface. It has one peer, so it needs no
// address resolution: every frame goes to the guest's MAC.
type link struct {
	net  *Network
	mtu  atomic.Uint32
	disp atomic.Pointer[dispatcher]

	mu     sync.Mutex
	wire   wire
	queue  []txItem
	spare  []txItem // the queue's other array
	queued int      // bytes of queue and of what drain holds
	busy   bool     // one goroutine owns wire.send
	kick   chan struct{}
}

type dispatcher struct{ stack.NetworkDispatcher }

var _ stack.LinkEndpoint = (*link)(nil)

func newLink(n *Network) *link {
	l := &link{net: n, kick: make(chan struct{}, 1)}
	l.mtu.Store(uint32(n.cfg.MTU))
	return l
}

func (l *link) MTU() uint32             { return l.mtu.Load() }
func (l *link) SetMTU(m uint32)         { l.mtu.Store(m) }
func (l *link) MaxHeaderLength() uint16 { return ethLen }
func (l *link) LinkAddress() tcpip.LinkAddress {
	return tcpip.LinkAddress(l.net.cfg.GatewayMAC[:])
}
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) Wait()                                   {}
func (l *link) Close()                                  {}
func (l *link) SetOnCloseAction(func())                 {}
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (l *link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *link) IsAttached() bool                        { return l.disp.Load() != nil }

func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.disp.Store(nil)
		return
	}
	l.disp.Store(&dispatcher{d})
}

// Capabilities: a local socket cannot corrupt a frame, so nothing is verified
// on receipt, and segments merged by GRO could not be.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// SupportedGSO and GSOMaxSize make TCP hand over segments of up to 64 KiB.
// Those larger than the guest's MSS are cut in segment, unless the guest takes
// them whole.
func (l *link) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }
func (l *link) GSOMaxSize() uint32               { return gsoMaxSize }

func (l *link) AddHeader(pkt *stack.PacketBuffer) {
	l.linkHeader(pkt.LinkHeader().Push(ethLen), pkt.NetworkProtocolNumber)
}

// linkHeader writes the header of a frame to h, which has exactly its length.
func (l *link) linkHeader(h []byte, proto tcpip.NetworkProtocolNumber) {
	copy(h, l.net.cfg.GuestMAC[:])
	copy(h[6:], l.net.cfg.GatewayMAC[:])
	binary.BigEndian.PutUint16(h[12:], uint16(proto))
}

// serve attaches a wire, runs it until it ends, and detaches it. It owns w.
func (l *link) serve(w wire) error {
	l.mu.Lock()
	l.wire = w
	l.mu.Unlock()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-l.kick:
				l.drain(true)
			case <-stop:
				return
			}
		}
	}()
	err := w.receive(newReceiver(l))
	l.mu.Lock()
	l.wire = nil
	l.mu.Unlock()
	w.close()
	close(stop)
	<-done
	select { // a kick that nobody took still owns send
	case <-l.kick:
		l.drain(true)
	default:
	}
	return err
}
