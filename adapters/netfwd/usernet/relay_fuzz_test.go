package usernet

import (
	"bytes"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRelayAllocates(t *testing.T) {
	n, err := New(DefaultConfig())
	require.NoError(t, err)
	defer n.Close()
	r, err := n.newRelay(discard{}, []netip.Addr{relay4, relay6})
	require.NoError(t, err)
	n.relay.Store(r)
	defer n.relay.Store(nil)
	rx := newReceiver(n.link)
	in := frameOf(packet(behind6, relay6, 17, make([]byte, 1000)))
	require.Zero(t, testing.AllocsPerRun(100, func() { rx.frame(in) }))
	out := packet(relay4, behind4, 17, make([]byte, 1000))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		s := <-r.free
		buf, ends := s.buf[:cap(s.buf)], s.ends[:0]
		for at := 0; at < 10*(ethLen+len(out)); at = ends[len(ends)-1] {
			ends = append(ends, at+ethLen+copy(buf[at+ethLen:], out))
		}
		r.frames(s, ends)
		s.put()
	}))
}

type discard struct{}

func (discard) ReadPackets([]byte, int, []int) ([]int, error) { return nil, os.ErrClosed }
func (discard) WritePacket([]byte) error                      { return nil }
func (discard) Close() error                                  { return nil }

// FuzzRelay: whatever the two sides send, what comes out is a whole packet
// between the two, and nothing panics.
func FuzzRelay(f *testing.F) {
	f.Add(packet(behind4, relay4, 1, []byte{8, 0, 0, 0}))
	f.Add(packet(relay6, behind6, 58, []byte{128, 0, 0, 0}))
	f.Add(packet(relay4, behind4, 6, make([]byte, 20)))
	f.Add([]byte{0x45})
	n, err := New(DefaultConfig())
	require.NoError(f, err)
	f.Cleanup(func() { n.Close() })
	d := newFakeDevice()
	r, err := n.newRelay(d, []netip.Addr{relay4, relay6})
	require.NoError(f, err)
	n.relay.Store(r)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxMTU {
			return
		}
		if r.take(b, offload{}) {
			select {
			case p := <-d.toHost:
				h, ok := parseIP(p)
				if !ok || h.length != len(p) || !r.own(h.dst) || !r.answerable(h.src) || h.options {
					t.Fatalf("%x reached the host", p)
				}
			default:
			}
		}
		s := &slab{buf: make([]byte, 0, relaySlabBytes)}
		hdr := ethLen
		// Twice, so that the second one moves when the first is dropped.
		buf := s.buf[:cap(s.buf)]
		ends := []int{hdr + copy(buf[hdr:], b)}
		ends = append(ends, ends[0]+hdr+copy(buf[ends[0]+hdr:], b))
		r.frames(s, ends)
		start := 0
		for _, end := range s.ends {
			fr := s.buf[start:end]
			start = end
			h, ok := parseIP(fr[hdr:])
			if !ok || !bytes.Equal(fr[hdr:], b) || !r.own(h.src) || !n.policy.Load().guestSide(h.dst) {
				t.Fatalf("%x reached the guest", fr)
			}
		}
		if start != len(s.buf) {
			t.Fatal("bytes after the last frame")
		}
	})
}
