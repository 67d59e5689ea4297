package usernet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSendAfterError: an item that was half gone when the wire broke says
// nothing of the next one.
func TestSendAfterError(t *testing.T) {
	conn, peer := socketPair(t, Datagram)
	w, err := newDatagramWire(conn, 1<<12)
	require.NoError(t, err)
	long := &slab{}
	for range 64 {
		long.buf = append(long.buf, make([]byte, 4000)...)
		long.ends = append(long.ends, len(long.buf))
	}
	gone, err := w.send([]txItem{{slab: long}}, false)
	require.NoError(t, err)
	require.Zero(t, gone, "the item does not fit")
	require.NoError(t, peer.Close())
	_, err = w.send([]txItem{{slab: long}}, false)
	require.Error(t, err)
	short := &slab{buf: make([]byte, 60), ends: []int{60}}
	gone, err = w.send([]txItem{{slab: short}}, false)
	require.Error(t, err)
	require.Zero(t, gone)
	w.close()
}
