package usernet

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"arcbox/adapters/internal/vhostuser"
	"arcbox/adapters/internal/vhostuser/vhosttest"
	"arcbox/domain"
)

// FuzzTxChains runs a driver's transmit queue with arbitrary descriptors and
// content; the network may drop all of it, or give up the card.
func FuzzTxChains(f *testing.F) {
	eth := []byte{0x52, 0x54, 0, 0, 2, 1, 0x52, 0x54, 0, 0, 2, 2, 8, 0}
	desc := func(at uint64, n uint32, flags, next uint16) []byte {
		b := binary.LittleEndian.AppendUint64(nil, vhosttest.BaseGPA+at)
		b = binary.LittleEndian.AppendUint32(b, n)
		b = binary.LittleEndian.AppendUint16(b, flags)
		return binary.LittleEndian.AppendUint16(b, next)
	}
	f.Add(desc(4096, 60, 0, 0), append(make([]byte, vnetLen), eth...), uint8(1))
	f.Add(append(desc(4096, 12, vhostuser.DescNext, 1), desc(4108, 60, 0, 0)...), append(make([]byte, vnetLen), eth...), uint8(2))
	f.Add(desc(4096, 32, vhostuser.DescIndirect, 0), desc(4096, 12, 0, 0), uint8(1))
	f.Add(desc(4096, 65535, vhostuser.DescNext, 0), []byte{1, 1, 0, 0, 0, 0, 34, 0, 16}, uint8(1))
	cfg := DefaultConfig()
	cfg.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
	cfg.ListenPing = func(string) (net.PacketConn, error) { return nil, net.ErrClosed }
	f.Fuzz(func(t *testing.T, descs, content []byte, chains uint8) {
		n, err := New(cfg)
		require.NoError(t, err)
		a, hypervisor := pairOf(t, unix.SOCK_STREAM)
		ended := make(chan error, 1)
		go func() { ended <- n.Serve(context.Background(), a) }()
		fe := vhosttest.NewFrontEndOn(t, hypervisor)
		fe.Handshake(ringFeatures | offloadsOfLinux)
		tx := vhosttest.NewVQ(t, fe, 1, ringFeatures)
		copy(fe.Mem[4096:60000], content)
		copy(fe.Mem[tx.Desc:tx.Desc+16*vhosttest.RingSize], descs)
		tx.Start(fe, 0)
		offered := int(chains % vhosttest.RingSize)
		for i := range offered {
			tx.Offer(uint16(i))
		}
		tx.Notify(0)
		for taken := 0; taken < offered && len(ended) == 0; {
			if _, _, ok := tx.Collect(); ok {
				taken++
			} else {
				time.Sleep(10 * time.Microsecond)
			}
		}
		_ = fe.Sock.CloseWrite() // which fails when the card was given up already
		if err := <-ended; err != nil && !errors.Is(err, domain.ErrCorrupt) {
			t.Fatal(err)
		}
		require.NoError(t, n.Close())
		tx.Close()
		fe.Close()
	})
}
