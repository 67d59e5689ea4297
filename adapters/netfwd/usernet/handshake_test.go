package usernet

import (
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func syn4(from, to netip.AddrPort) []byte {
	b := make([]byte, header.IPv4MinimumSize+header.TCPMinimumSize)
	src, dst := toAddr(from.Addr()), toAddr(to.Addr())
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.TCPProtocolNumber), SrcAddr: src, DstAddr: dst})
	ip.SetChecksum(^ip.CalculateChecksum())
	s := header.TCP(ip.Payload())
	s.Encode(&header.TCPFields{
		SrcPort: from.Port(), DstPort: to.Port(), SeqNum: 1, DataOffset: header.TCPMinimumSize,
		Flags: header.TCPFlagSyn, WindowSize: 65535,
	})
	s.SetChecksum(^checksum.Checksum(s, header.PseudoHeaderChecksum(header.TCPProtocolNumber, src, dst, uint16(len(s)))))
	return b
}

// halfOpen makes the host's side of a connect whose guest never answers the SYN-ACK.
func halfOpen(t *testing.T, h *hypervisor) *net.TCPConn {
	ln, p := listenHost(t, "127.0.0.1:0")
	h.send(h.ether("\x08\x00", syn4(netip.AddrPortFrom(h.n.cfg.Guest4, 1000), netip.AddrPortFrom(h.n.cfg.Gateway4, p))))
	require.NoError(t, ln.SetDeadline(soon()))
	c, err := ln.AcceptTCP()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetReadDeadline(soon()))
	return c
}

func TestHandshakeDeadline(t *testing.T) {
	h := newHypervisor(t, VhostUser, func(c *Config) { c.ConnectTimeout = 200 * time.Millisecond })
	c := halfOpen(t, h)
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET, "a clean end would look like an answer")
	require.Eventually(t, func() bool { return h.n.Counters().TCPFlows == 0 }, 5*time.Second, time.Millisecond)
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	require.Empty(t, h.n.handshakes)
}

func TestCloseDuringHandshake(t *testing.T) {
	h := newHypervisor(t, VhostUser, nil)
	c := halfOpen(t, h)
	require.Eventually(t, func() bool { // the listener may be ahead of the dialer
		h.n.mu.Lock()
		defer h.n.mu.Unlock()
		return len(h.n.handshakes) == 1
	}, 5*time.Second, time.Millisecond)
	start := time.Now()
	require.NoError(t, h.n.Close())
	require.Less(t, time.Since(start), 2*time.Second)
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
}
