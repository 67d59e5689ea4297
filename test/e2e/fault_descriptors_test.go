package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestConnectionsThatAreKeptLeaveNothing is TestThousandsOfRequests' other half:
// here connections are used again and again, as an IDE does, and then closed.
func TestConnectionsThatAreKeptLeaveNothing(t *testing.T) {
	const clients = 20
	transport := &http.Transport{MaxIdleConns: clients, MaxIdleConnsPerHost: clients, MaxConnsPerHost: clients,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", shared.socket())
		}}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	before := descriptors(t, shared)
	for _, batch := range []struct {
		path  string
		count int
	}{{"/containers/json?all=1", 500}, {"/_ping", 10_000}} {
		results := make(chan error, clients)
		for range clients {
			go func() {
				for range batch.count / clients {
					resp, err := client.Get("http://docker" + batch.path)
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
						if resp.StatusCode != http.StatusOK {
							err = errors.New(resp.Status)
						}
					}
					if err != nil {
						results <- err
						return
					}
				}
				results <- nil
			}()
		}
		for range clients {
			require.NoError(t, <-results, batch.path)
		}
	}
	require.Greater(t, descriptors(t, shared), before, "they are open")
	transport.CloseIdleConnections()
	eventually(t, time.Minute, func() error {
		if now := descriptors(t, shared); now > before {
			return fmt.Errorf("%d descriptors, %d before", now, before)
		}
		return nil
	})
}

// descriptors counts the open file descriptors of a daemon.
func descriptors(t *testing.T, d *daemon) int {
	t.Helper()
	st, _, err := d.status()
	require.NoError(t, err)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", st.PID))
	require.NoError(t, err)
	return len(entries)
}
