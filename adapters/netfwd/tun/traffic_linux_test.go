package tun

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func full(a netip.Addr, port uint16) (tcpip.FullAddress, tcpip.NetworkProtocolNumber) {
	proto := header.IPv4ProtocolNumber
	if a.Is6() {
		proto = header.IPv6ProtocolNumber
	}
	return tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(a.AsSlice()), Port: port}, proto
}

const limit = 20 * time.Second

func tcpBothWays(t *testing.T, g *guestStack, a netip.Addr) {
	at, proto := full(a, 80)
	ln, err := gonet.ListenTCP(g.Stack, at, proto)
	require.NoError(t, err)
	defer ln.Close()
	defer ln.Shutdown()
	served := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_, err = io.Copy(c, c)
			c.Close()
		}
		served <- err
	}()
	c, err := net.DialTimeout("tcp", net.JoinHostPort(a.String(), "80"), limit)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(limit)))
	data := make([]byte, 16<<20)
	_, _ = rand.Read(data)
	begin := time.Now()
	go func() {
		_, _ = c.Write(data)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	back, err := io.ReadAll(c)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, back))
	t.Logf("%d MiB there and back in %v", len(data)>>20, time.Since(begin).Round(time.Millisecond))
	require.NoError(t, <-served)

	_, err = net.DialTimeout("tcp", net.JoinHostPort(a.String(), "81"), limit)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func udpEcho(t *testing.T, g *guestStack, a netip.Addr) {
	at, proto := full(a, 53)
	server, err := gonet.DialUDP(g.Stack, &at, nil, proto)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for {
			k, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(buf[:k], from)
		}
	}()
	defer func() { server.Close(); <-done }()
	c, err := net.Dial("udp", net.JoinHostPort(a.String(), "53"))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(limit)))
	buf := make([]byte, 65536)
	for _, size := range []int{0, 1, 1400, 9000, 65400} {
		_, err := c.Write(bytes.Repeat([]byte{7}, size))
		require.NoError(t, err)
		k, err := c.Read(buf)
		require.NoError(t, err)
		require.Equal(t, size, k)
	}
}

func ping(t *testing.T, a netip.Addr) {
	network, listen, echo, reply, number := "ip4:icmp", "0.0.0.0", icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply), 1
	if a.Is6() {
		network, listen, echo, reply, number = "ip6:ipv6-icmp", "::", ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58
	}
	c, err := icmp.ListenPacket(network, listen)
	require.NoError(t, err)
	defer c.Close()
	m := icmp.Message{Type: echo, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: 1, Data: []byte("ping")}}
	b, err := m.Marshal(nil)
	require.NoError(t, err)
	_, err = c.WriteTo(b, &net.IPAddr{IP: a.AsSlice()})
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(limit)))
	buf := make([]byte, 1500)
	for {
		k, from, err := c.ReadFrom(buf)
		require.NoError(t, err)
		got, err := icmp.ParseMessage(number, buf[:k])
		require.NoError(t, err)
		if got.Type == reply && from.String() == a.String() {
			return
		}
	}
}

// toHost opens connections from the guest's and a container's address to the host's.
func toHost(t *testing.T, g *guestStack, s Settings) {
	for i, from := range []netip.Addr{container4, container6} {
		ln, err := net.Listen("tcp", net.JoinHostPort(s.Addresses[i].String(), "0"))
		require.NoError(t, err)
		defer ln.Close()
		_, port, err := net.SplitHostPort(ln.Addr().String())
		require.NoError(t, err)
		p, err := strconv.ParseUint(port, 10, 16)
		require.NoError(t, err)
		to, proto := full(s.Addresses[i], uint16(p))
		local, _ := full(from, 0)
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		c, err := gonet.DialTCPWithBind(ctx, g.Stack, local, to, proto)
		cancel()
		require.NoError(t, err)
		host, err := ln.Accept()
		require.NoError(t, err)
		require.Equal(t, from.String(), host.RemoteAddr().(*net.TCPAddr).IP.String())
		host.Close()
		c.Close()
	}
}
