package usernet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// segmentOf makes a packet as the stack gives it to the link.
func segmentOf(t *testing.T, port uint16, flags header.TCPFlags, options, payload int) *stack.PacketBuffer {
	t.Helper()
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: header.IPv4MinimumSize + header.TCPHeaderMaximumSize,
		Payload:            buffer.MakeWithData(make([]byte, payload)),
	})
	t.Cleanup(pkt.DecRef)
	tcp := header.TCP(pkt.TransportHeader().Push(header.TCPMinimumSize + options))
	tcp.Encode(&header.TCPFields{SrcPort: 80, DstPort: port, Flags: flags, DataOffset: uint8(header.TCPMinimumSize + options)})
	pkt.TransportProtocolNumber = header.TCPProtocolNumber
	ip := header.IPv4(pkt.NetworkHeader().Push(header.IPv4MinimumSize))
	ip.Encode(&header.IPv4Fields{Protocol: uint8(header.TCPProtocolNumber), SrcAddr: tcpip.AddrFrom4([4]byte{10, 0, 2, 1}), DstAddr: tcpip.AddrFrom4([4]byte{172, 17, 0, 2})})
	pkt.NetworkProtocolNumber = header.IPv4ProtocolNumber
	return pkt
}

func TestAcknowledgementsWaitForCompany(t *testing.T) {
	now := time.Now()
	none := func(*stack.PacketBuffer) { t.Fatal("nothing is due") }

	a := newAckHold()
	ack := segmentOf(t, 1, header.TCPFlagAck, 12, 0)
	require.False(t, a.pass(ack, now), "the first one waits")
	require.True(t, a.pass(segmentOf(t, 1, header.TCPFlagAck|header.TCPFlagPsh, 12, 5), now), "data takes its place")
	a.due(now.Add(time.Second), none)

	require.False(t, a.pass(ack, now))
	require.True(t, a.pass(segmentOf(t, 1, header.TCPFlagAck|header.TCPFlagFin, 12, 0), now), "and so does an end")
	require.False(t, a.pass(ack, now))
	require.True(t, a.pass(ack, now), "every second one goes at once")
	a.due(now.Add(time.Second), none)

	require.False(t, a.pass(ack, now))
	require.False(t, a.pass(segmentOf(t, 2, header.TCPFlagAck, 12, 0), now.Add(ackDelay/2)), "another flow is another's business")
	var sent []*stack.PacketBuffer
	keep := func(p *stack.PacketBuffer) { sent = append(sent, p); p.DecRef() }
	a.due(now.Add(ackDelay/4), none)
	a.due(now.Add(ackDelay), keep)
	require.Equal(t, []*stack.PacketBuffer{ack}, sent, "time lets it go, and the younger one waits on")
	a.due(now.Add(2*ackDelay), keep)
	require.Len(t, sent, 2)
	select {
	case <-a.timer.C:
	case <-time.After(10 * time.Second):
		t.Fatal("the timer ran for what waited")
	}

	require.False(t, a.pass(ack, now))
	a.drop()
	a.due(now.Add(time.Second), none)
}

func TestWhatNeverWaits(t *testing.T) {
	a := newAckHold()
	for name, pkt := range map[string]*stack.PacketBuffer{
		"data":                      segmentOf(t, 1, header.TCPFlagAck, 12, 1),
		"SYN":                       segmentOf(t, 2, header.TCPFlagSyn, 12, 0),
		"SYN and ACK":               segmentOf(t, 3, header.TCPFlagSyn|header.TCPFlagAck, 12, 0),
		"reset":                     segmentOf(t, 4, header.TCPFlagRst|header.TCPFlagAck, 0, 0),
		"selective acknowledgement": segmentOf(t, 5, header.TCPFlagAck, 24, 0),
	} {
		require.True(t, a.pass(pkt, time.Now()), name)
	}
	udp := segmentOf(t, 6, header.TCPFlagAck, 0, 0)
	udp.TransportProtocolNumber = header.UDPProtocolNumber
	require.True(t, a.pass(udp, time.Now()))
	require.Empty(t, a.held)
}
