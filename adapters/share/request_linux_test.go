package share

import (
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/internal/vhostuser"
)

func TestRoomForAnAnswerIsBounded(t *testing.T) {
	page := make([]byte, 1<<20)
	segments := []vhostuser.Segment{{Mem: make([]byte, headerLen)}}
	for range 64 {
		segments = append(segments, vhostuser.Segment{Mem: page, Writable: true})
	}
	in, out, ok := split(segments)
	require.True(t, ok)
	require.Len(t, in, 1)
	total := 0
	for _, b := range out {
		total += len(b)
	}
	require.Equal(t, maxReply, total)
}
