package usernet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// TestRoomIsBounded adds up what a guest can make the stack hold.
func TestRoomIsBounded(t *testing.T) {
	sum, last := int64(0), int64(mostRoom)
	for open := range uint64(8192) {
		room := roomFor(open)
		require.LessOrEqual(t, room, last)
		require.GreaterOrEqual(t, room, int64(leastRoom))
		sum, last = sum+room, room
		if open == 1000 {
			require.Less(t, sum, int64(384<<20))
		}
	}
	require.Less(t, sum, int64(640<<20))
	require.Equal(t, int64(mostRoom), roomFor(0))
}

// TestManyConnectionsShareRoom opens more connections than have all the room.
func TestManyConnectionsShareRoom(t *testing.T) {
	r := newRig(t, VhostUser, nil)
	var guest *Conn
	var host *net.TCPConn
	for i := range 600 {
		guest, host = r.outbound(t)
		o := guest.ep.SocketOptions()
		require.LessOrEqual(t, o.GetReceiveBufferSize(), roomFor(uint64(i)))
		require.LessOrEqual(t, o.GetSendBufferSize(), roomFor(uint64(i)))
	}
	// The last one has little room, and still moves everything.
	require.Less(t, guest.room, int64(copyBuffer))
	want := bytes.Repeat([]byte("0123456789abcdef"), 256<<10)
	for _, d := range []struct{ from, to HalfCloser }{{guest, host}, {host, guest}} {
		sent := make(chan error, 1)
		go func() {
			_, err := d.from.Write(want)
			sent <- errors.Join(err, d.from.CloseWrite())
		}()
		got, err := io.ReadAll(d.to)
		require.NoError(t, err)
		require.NoError(t, <-sent)
		require.True(t, bytes.Equal(want, got))
	}
}

// TestTinySegmentsCount: frames that the guest makes many times larger than
// the packet they are cut from are counted as large as they are.
func TestTinySegmentsCount(t *testing.T) {
	n, err := New(DefaultConfig())
	require.NoError(t, err)
	defer n.Close()
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: ethLen + header.IPv4MinimumSize + header.TCPMinimumSize,
		Payload:            buffer.MakeWithData(make([]byte, 10000)),
	})
	defer pkt.DecRef()
	tcp := header.TCP(pkt.TransportHeader().Push(header.TCPMinimumSize))
	tcp.Encode(&header.TCPFields{DataOffset: header.TCPMinimumSize})
	header.IPv4(pkt.NetworkHeader().Push(header.IPv4MinimumSize)).Encode(&header.IPv4Fields{})
	pkt.LinkHeader().Push(ethLen)
	pkt.GSOOptions = stack.GSO{Type: stack.GSOTCPv4, MSS: 1}
	n.link.wire = &datagramWire{} // takes nothing unfinished
	it := n.link.item(pkt)
	require.Len(t, it.slab.ends, 10000)
	require.Equal(t, len(it.slab.buf), it.size)
	require.Greater(t, it.size, 10000*(ethLen+header.IPv4MinimumSize+header.TCPMinimumSize))
	it.release()
}
