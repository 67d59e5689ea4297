package grpc

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/internal/localsocket/localsockettest"
)

// A server that takes a connection greets it with its settings.
func TestAnotherUserIsNotServed(t *testing.T) {
	f := serve(t)
	conn := localsockettest.Dial(t, f.path)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}
