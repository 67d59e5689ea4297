package cli

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func listenUnix(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	require.NoError(t, err)
	return l
}
