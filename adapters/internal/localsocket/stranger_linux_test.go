package localsocket_test

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/internal/localsocket"
	"arcbox/adapters/internal/localsocket/localsockettest"
)

func TestAStrangerIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := localsocket.Listen(path, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		require.Error(t, <-accepted)
	})
	conn := localsockettest.Dial(t, path)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}
