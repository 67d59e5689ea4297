//go:build linux

package guest_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/hostsocket"
	"arcbox/application/port"
	"arcbox/domain"
)

// everything lets the guest reach what it names.
type everything struct{ hostsocket.Dialer }

func (e everything) DialService(context.Context, string) (port.Stream, error) {
	return nil, domain.ErrNotFound
}
func (e everything) DialPath(ctx context.Context, p string) (port.Stream, error) {
	return e.DialExact(ctx, p)
}

// serveSockets answers the guest until the test ends.
func serveSockets(t *testing.T, s port.AgentSession) port.SocketSource {
	t.Helper()
	source := s.(port.SocketSource)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = source.Sockets(ctx, everything{}) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return source
}

// ask sends a question to what a container has at path, ends its data, and
// returns the answer. The host may not have begun to listen.
func ask(t *testing.T, path, question string) string {
	t.Helper()
	var got []byte
	require.Eventually(t, func() bool {
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write([]byte(question)); err != nil {
			return false
		}
		_ = c.CloseWrite()
		got, err = io.ReadAll(c)
		return err == nil && len(got) > 0
	}, 20*time.Second, 10*time.Millisecond)
	return string(got)
}

func TestASocketOfTheHostIsReachedOverBoots(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	link := filepath.Join(dir, "l") // as a container has it mounted: at a shorter path
	host, err := net.Listen("unix", filepath.Join(dir, "host"))
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := host.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				q, _ := io.ReadAll(c)
				_, _ = c.Write(append([]byte("you asked "), q...))
			})
		}
	})
	t.Cleanup(func() { _ = host.Close(); serving.Wait() })

	v := &vm{dir: t.TempDir()}
	v.boot(t, noDisk)
	s, _ := connect(t, v)
	await(t, s, "disk", func(g domain.GuestStatus) bool {
		d, _ := g.Service("data-disk")
		return d.State == domain.ServiceReady
	})
	source := serveSockets(t, s)
	var guest string
	require.Eventually(t, func() bool {
		guest, err = source.OfferSocket(t.Context(), host.Addr().String())
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, os.Symlink(guest, link))
	require.Equal(t, "you asked one", ask(t, link, "one"))
	require.NoError(t, s.Shutdown(t.Context(), time.Second))
	v.wait(t)

	require.NoError(t, os.RemoveAll(filepath.Join(v.dir, "sockets"))) // the next boot begins without
	v.ended = false
	v.boot(t, noDisk)
	s, _ = connect(t, v)
	serveSockets(t, s)
	require.Equal(t, "you asked two", ask(t, link, "two"), "nobody offered it again")
}
