package grpc

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
)

// A client that pings all the time is sent away.
func TestAFloodOfPingsEndsTheConnection(t *testing.T) {
	f := serve(t)
	conn, err := net.Dial("unix", f.path)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = conn.Write([]byte(http2.ClientPreface))
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	require.NoError(t, framer.WriteSettings())
	for n := range 8 {
		if framer.WritePing(false, [8]byte{byte(n)}) != nil {
			break // sent away already
		}
	}
	for {
		frame, err := framer.ReadFrame()
		require.NoError(t, err)
		if away, ok := frame.(*http2.GoAwayFrame); ok {
			require.Equal(t, http2.ErrCodeEnhanceYourCalm, away.ErrCode)
			return
		}
	}
}
