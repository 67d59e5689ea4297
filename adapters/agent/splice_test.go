package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// joined returns a client and a service that splice joins until ctx ends.
func joined(t *testing.T, ctx context.Context) (client, service *net.UnixConn) {
	t.Helper()
	client, a := pairOf(t)
	b, service := pairOf(t)
	var wg sync.WaitGroup
	wg.Go(func() { splice(ctx, a, b) })
	t.Cleanup(func() { _ = client.Close(); _ = service.Close(); wg.Wait() })
	for _, c := range []*net.UnixConn{client, service} {
		require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	}
	return client, service
}

func TestSpliceEndsEachDirectionByItself(t *testing.T) {
	client, service := joined(t, t.Context())
	_, err := client.Write([]byte("question"))
	require.NoError(t, err)
	require.NoError(t, client.CloseWrite())
	got, err := io.ReadAll(service)
	require.NoError(t, err)
	require.Equal(t, "question", string(got))
	time.Sleep(lookForPeer + lookForPeer/2) // the peer is looked for, and is there
	_, err = service.Write([]byte("answer"))
	require.NoError(t, err)
	require.NoError(t, service.CloseWrite())
	got, err = io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "answer", string(got))
}

func TestSplicePassesOnThatASideIsGone(t *testing.T) {
	for name, swap := range map[string]bool{"client": false, "service": true} {
		t.Run(name, func(t *testing.T) {
			gone, other := joined(t, t.Context())
			if swap {
				gone, other = other, gone
			}
			require.NoError(t, gone.Close())
			_, err := io.ReadAll(other)
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				_, err := other.Write([]byte("x"))
				return err != nil
			}, 10*time.Second, time.Millisecond, "it is not only half of an end")
		})
	}
}

func TestSpliceNoticesASideThatGoesAfterItsEnd(t *testing.T) {
	client, service := joined(t, t.Context())
	require.NoError(t, client.CloseWrite())
	_, err := io.ReadAll(service)
	require.NoError(t, err)
	require.NoError(t, client.Close())
	require.Eventually(t, func() bool {
		_, err := service.Write(nil)
		return err != nil
	}, 10*time.Second, time.Millisecond, "although nothing is sent to it")
}

func TestSpliceHoldsBackForASlowReader(t *testing.T) {
	client, service := joined(t, t.Context())
	data := make([]byte, 8<<20)
	_, _ = rand.Read(data)
	written := make(chan error, 1)
	go func() {
		_, err := client.Write(data)
		_ = client.CloseWrite()
		written <- err
	}()
	select {
	case err := <-written:
		t.Fatalf("8 MiB were taken while nobody read: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	// The other direction does not wait for it.
	_, err := service.Write([]byte("ping"))
	require.NoError(t, err)
	_, err = io.ReadFull(client, make([]byte, 4))
	require.NoError(t, err)
	got, err := io.ReadAll(service)
	require.NoError(t, err)
	require.NoError(t, <-written)
	require.True(t, bytes.Equal(data, got))
}

func TestSpliceOfASideThatOnlyTalks(t *testing.T) {
	client, service := joined(t, t.Context())
	require.NoError(t, service.CloseRead())
	_, err := client.Write(make([]byte, 1<<20)) // is not read by anybody
	require.NoError(t, err)
	_, err = service.Write([]byte("last words"))
	require.NoError(t, err)
	got := make([]byte, len("last words"))
	_, err = io.ReadFull(client, got)
	require.NoError(t, err)
	require.Equal(t, "last words", string(got))
}

func TestTheEndOfItsContextEndsASplice(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client, service := joined(t, ctx)
	go func() { _, _ = client.Write(make([]byte, 8<<20)) }() // one side is stuck
	cancel()
	for _, c := range []*net.UnixConn{client, service} {
		_, _ = io.Copy(io.Discard, c)
	}
}
