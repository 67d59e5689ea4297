//go:build linux

package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"arcbox/guest/publish/wire"
	"arcbox/guest/tunnel"
)

const (
	// requestLimit is how long a proxy may take to say what it wants.
	requestLimit = 5 * time.Second
	// bindLimit is for one request as a whole; the proxy gives up after 10 s.
	bindLimit = 8500 * time.Millisecond
	// releaseLimit is how long a proxy waits for the host's port to be free; it
	// gives up after 2 s.
	releaseLimit = 1800 * time.Millisecond
	// maxProxies leaves room above the leases for refusals that say why.
	maxProxies = MaxLeases + 64
)

// Server takes the requests of the userland proxies.
type Server struct {
	// Path is where the socket is made, in place of an older one.
	Path   string
	Broker *Broker
	Log    *slog.Logger
}

// Serve serves until ctx ends; then it closes the socket and every connection,
// waits for all, and returns nil.
func (s *Server) Serve(ctx context.Context) error {
	l, err := s.listen()
	if err != nil {
		return fmt.Errorf("listen for the userland proxies: %w", err)
	}
	err = tunnel.ServeEach(ctx, l, maxProxies, s.serve, func() {
		s.Log.Warn("userland proxy refused: too many", "limit", maxProxies)
	})
	if err != nil {
		return fmt.Errorf("accept a userland proxy: %w", err)
	}
	return nil
}

func (s *Server) listen() (*net.UnixListener, error) {
	if err := os.Remove(s.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(s.Path), 0o711); err != nil {
		return nil, err
	}
	// Nobody but root may connect, not even for a moment.
	dir, err := os.MkdirTemp(filepath.Dir(s.Path), ".publish")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: made, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, s.Path)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// serve keeps one proxy's lease for as long as its connection.
func (s *Server) serve(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()

	message, socket, err := receive(c)
	if err != nil {
		s.Log.Warn("userland proxy without a request", "error", err)
		return
	}
	defer socket.Close() // a nil file's Close does nothing
	rule, err := parseBind(message)
	if err != nil {
		s.refuse(c, err)
		return
	}

	// From here on something is read all the time, so that the end of a proxy
	// is seen at once, whatever is waited for.
	proxy, gone := context.WithCancelCause(ctx)
	ended := make(chan bool, 1) // true: the proxy waits for an answer
	var reading sync.WaitGroup
	reading.Go(func() {
		ended <- awaitEnd(c)
		gone(errProxyGone)
	})
	defer func() {
		_ = c.Close()
		reading.Wait()
	}()

	bind, cancel := context.WithTimeout(proxy, bindLimit)
	id, err := s.Broker.Bind(bind, rule)
	cancel()
	if err != nil {
		s.Log.Warn("port not published", "rule", rule.String(), "error", err)
		_ = socket.Close()
		s.refuse(c, err)
		return
	}
	s.Log.Info("port published", "lease", id, "rule", rule.String())
	local := s.serveGuest(ctx, socket, rule)
	asked := false
	if err := s.send(c, wire.Granted); err == nil {
		asked = <-ended
	}
	local.close() // first: dockerd may bind the same port again when the proxy has ended
	s.release(ctx, id)
	if asked {
		_ = s.send(c, wire.Released) // the proxy ends with or without
	}
}

// release gives a port back. The end of the agent does not shorten it: the
// host is told what it was told to do.
func (s *Server) release(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseLimit)
	defer cancel()
	if err := s.Broker.Release(ctx, id); err != nil {
		s.Log.Warn("port given back without an answer", "lease", id, "error", err)
		return
	}
	s.Log.Info("port given back", "lease", id)
}

func (s *Server) refuse(c *net.UnixConn, why error) {
	if err := s.send(c, wire.Refused+forUser(why.Error())); err != nil {
		s.Log.Warn("userland proxy gone before its answer", "error", err)
	}
}

func (s *Server) send(c *net.UnixConn, message string) error {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // the proxy has nothing else to do than to read
	_, err := c.Write([]byte(message))
	return err
}

// receive reads the first message, and the guest's socket if it came with it,
// which the caller closes.
func receive(c *net.UnixConn) (string, *os.File, error) {
	_ = c.SetReadDeadline(time.Now().Add(requestLimit))
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	buf, oob := make([]byte, wire.MaxRequest), make([]byte, unix.CmsgSpace(4*maxRights))
	n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return "", nil, err
	}
	socket := firstFile(oob[:oobn])
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		_ = socket.Close()
		return "", nil, errors.New("the request is too long")
	}
	if socket != nil && !isInternet(socket) {
		_ = socket.Close()
		socket = nil
	}
	return string(buf[:n]), socket, nil
}

// isInternet says whether f is a socket that dockerd may have bound to a port.
// One of another kind is not kept: it could be the proxy's end of the very
// connection whose end is waited for.
func isInternet(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	family := 0
	_ = raw.Control(func(fd uintptr) { family, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN) })
	return family == unix.AF_INET || family == unix.AF_INET6
}

// maxRights is more than a proxy sends.
const maxRights = 4

// firstFile returns the first file that came with a message and closes others.
func firstFile(oob []byte) *os.File {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var first *os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			if first != nil {
				_ = unix.Close(fd)
				continue
			}
			first = os.NewFile(uintptr(fd), "published")
		}
	}
	return first
}

// awaitEnd waits until the proxy gives its port back, which it says, or is gone.
func awaitEnd(c *net.UnixConn) (asked bool) {
	buf := make([]byte, len(wire.Release)+1)
	n, err := c.Read(buf)
	return err == nil && string(buf[:n]) == wire.Release
}
