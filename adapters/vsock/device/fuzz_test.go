//go:build linux

package device

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/internal/vhostuser"
)

// FuzzPackets hands arbitrary packets of the guest to streams in several
// states.
func FuzzPackets(f *testing.F) {
	pkt := func(h header, n int) []byte {
		var raw [headerLen]byte
		h.len = uint32(n)
		h.encode(&raw)
		return append(append([]byte{byte(n)}, raw[:]...), make([]byte, n)...)
	}
	base := header{srcCID: testCID, dstCID: hostCID, srcPort: 1, dstPort: firstPort, typ: typeStream, alloc: 1000}
	for op := range uint16(9) {
		h := base
		h.op, h.flags = op, uint32(op)
		f.Add(append(pkt(h, 10), pkt(h, 0)...), uint8(op))
	}
	f.Fuzz(func(t *testing.T, script []byte, cut uint8) {
		m := newIdleMux(t)
		var streams []*Stream
		for i := range 3 {
			s, err := m.register(uint32(i))
			require.NoError(t, err)
			streams = append(streams, s)
		}
		streams[1].accepted()
		for len(script) > headerLen {
			n := min(int(script[0]), len(script)-1-headerLen)
			p := append([]byte(nil), script[1:1+headerLen+n]...)
			script = script[1+headerLen+n:]
			if cut%2 == 0 { // make most of them reach a stream
				binary.LittleEndian.PutUint64(p, testCID)
				binary.LittleEndian.PutUint64(p[8:], hostCID)
				binary.LittleEndian.PutUint32(p[16:], binary.LittleEndian.Uint32(p[16:])%4)
				binary.LittleEndian.PutUint32(p[20:], firstPort+binary.LittleEndian.Uint32(p[20:])%4)
				binary.LittleEndian.PutUint16(p[28:], typeStream)
				binary.LittleEndian.PutUint16(p[30:], binary.LittleEndian.Uint16(p[30:])%9)
			}
			at := min(int(cut), len(p))
			m.packet([]vhostuser.Segment{{Mem: p[:at]}, {Mem: p[at:]}})
		}
		for _, s := range streams {
			require.LessOrEqual(t, s.recv.len(), recvWindow)
			room := s.credit.room()
			require.LessOrEqual(t, room, s.credit.alloc)
			_ = s.Close()
		}
		require.LessOrEqual(t, len(m.out.control), len(streams))
	})
}
