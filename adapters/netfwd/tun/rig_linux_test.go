package tun

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"arcbox/adapters/netfwd/usernet"
)

const namespaceEnv = "ARCBOX_TEST_NAMESPACE"

// inNamespace runs the calling test again in a network of its own, where the
// test process is then the only one. It is true there; elsewhere the test has
// been run when it returns.
func inNamespace(t *testing.T) bool {
	if os.Getenv(namespaceEnv) == t.Name() {
		lo(t)
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=100s")
	cmd.Env = append(os.Environ(), namespaceEnv+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Skipf("this process may not make a network namespace: %v", err)
	}
	t.Logf("%s", out)
	require.NoError(t, err)
	if bytes.Contains(out, []byte("--- SKIP: "+t.Name()+" ")) {
		t.Skip("see above")
	}
	return false
}

// guestStack is the guest and its containers: a stack with their addresses at
// the hypervisor's end of a Network's socket.
type guestStack struct {
	*stack.Stack
	conn *net.UnixConn
	ch   *channel.Endpoint
	wg   sync.WaitGroup
	end  context.CancelFunc
}

var (
	container4 = netip.MustParseAddr("172.17.0.2")
	container6 = netip.MustParseAddr("fd0a:bc:1::2")
)

// newNetwork returns a network with a guest, which has the containers' addresses.
func newNetwork(t *testing.T) (*usernet.Network, *guestStack) {
	cfg := usernet.DefaultConfig()
	cfg.Framing = usernet.Datagram
	n, err := usernet.New(cfg)
	require.NoError(t, err)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	require.NoError(t, err)
	conn := func(fd int) *net.UnixConn {
		f := os.NewFile(uintptr(fd), "pair")
		defer f.Close()
		c, err := net.FileConn(f)
		require.NoError(t, err)
		return c.(*net.UnixConn)
	}
	served := make(chan error, 1)
	ours := conn(fds[0])
	go func() { served <- n.Serve(context.Background(), ours) }()

	g := &guestStack{conn: conn(fds[1]), ch: channel.New(512, uint32(cfg.MTU), "")}
	g.Stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	require.Nil(t, g.CreateNIC(1, g.ch))
	for _, a := range []netip.Addr{container4, container6, cfg.Guest4, cfg.Guest6} {
		proto := header.IPv4ProtocolNumber
		if a.Is6() {
			proto = header.IPv6ProtocolNumber
		}
		require.Nil(t, g.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: proto, AddressWithPrefix: tcpip.AddrFromSlice(a.AsSlice()).WithPrefix()}, stack.AddressProperties{}))
	}
	g.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}, {Destination: header.IPv6EmptySubnet, NIC: 1}})
	ctx, cancel := context.WithCancel(context.Background())
	g.end = cancel
	g.wg.Go(g.receive)
	g.wg.Go(func() { g.send(ctx, cfg) })
	t.Cleanup(func() {
		cancel()
		require.NoError(t, n.Close())
		require.NoError(t, <-served)
		g.conn.Close()
		g.wg.Wait()
		g.Destroy()
	})
	return n, g
}

func (g *guestStack) receive() {
	b := make([]byte, 1<<16+14)
	for {
		size, err := g.conn.Read(b)
		if err != nil {
			return
		}
		frame := b[:size]
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame[14:])})
		g.ch.InjectInbound(tcpip.NetworkProtocolNumber(binary.BigEndian.Uint16(frame[12:])), pkt)
		pkt.DecRef()
	}
}

func (g *guestStack) send(ctx context.Context, cfg usernet.Config) {
	for {
		pkt := g.ch.ReadContext(ctx)
		if pkt == nil {
			return
		}
		b := pkt.ToView().AsSlice()
		f := slices.Concat(cfg.GatewayMAC[:], cfg.GuestMAC[:])
		f = append(binary.BigEndian.AppendUint16(f, uint16(pkt.NetworkProtocolNumber)), b...)
		pkt.DecRef()
		if _, err := g.conn.Write(f); err != nil {
			return
		}
	}
}
