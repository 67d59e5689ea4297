// Package hostsockets has Unix sockets in the guest that lead to sockets of the
// host: services that the host has for every guest, and sockets of the host's
// users that containers mount. The agent only listens; for every connection the
// host is told, decides, and comes back over the stream port.
package hostsockets

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"arcbox/domain"
)

// The bounds of what containers can make the agent hold.
const (
	// maxConnections is how many connections to all sockets are open at once.
	maxConnections = 256
	// maxWaiting is how many of them wait for the host.
	maxWaiting = 64
	// hostLimit is how long one waits for it.
	hostLimit = 10 * time.Second
)

// Target is what a socket leads to. Exactly one field is not empty.
type Target struct {
	Service  string
	HostPath string
}

// Config is what a Server is made of.
type Config struct {
	// Dir holds the sockets of the host's paths. It is empty after a boot.
	Dir string
	// Exists says whether a path of the host is there, as far as the guest can
	// see. It is asked when room for others is needed.
	Exists func(hostPath string) bool
	Log    *slog.Logger
}

// Server owns the sockets. Its methods may be called by any goroutine.
type Server struct {
	cfg      Config
	slots    chan struct{} // one for each open connection
	news     chan struct{} // there are sockets that nobody accepts from
	complain *limiter

	// changing is held by those who change the set of sockets: it takes file
	// operations.
	changing sync.Mutex
	offers   offers // under changing

	mu      sync.Mutex
	sockets map[string]*socket // by path in the guest
	closed  bool
	host    *Host
	waiting map[string]*waiter
	lastID  uint64
}

// socket is one socket in the guest.
type socket struct {
	listener *net.UnixListener
	to       Target // under Server.mu
	serving  bool   // under Server.mu
}

// New returns a server without sockets. Serve has to be called once.
func New(cfg Config) *Server {
	return &Server{
		cfg: cfg, slots: make(chan struct{}, maxConnections), news: make(chan struct{}, 1),
		complain: &limiter{log: cfg.Log}, sockets: map[string]*socket{}, waiting: map[string]*waiter{},
	}
}

// Serve serves the sockets until ctx ends; then it closes them and every
// connection that still waits for the host, waits for all, and returns nil.
// Sockets that were made before it is called answer from then on.
func (s *Server) Serve(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	defer s.close()
	for {
		for _, k := range s.unserved() {
			running.Go(func() { s.accept(ctx, &running, k) })
		}
		select {
		case <-s.news:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Server) unserved() []*socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*socket
	for _, k := range s.sockets {
		if !k.serving {
			k.serving = true
			list = append(list, k)
		}
	}
	return list
}

func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, k := range s.sockets {
		_ = k.listener.Close()
	}
}

// open makes a socket, or has the one that is there lead to another target:
// containers have its file mounted, so it must stay the same one. s.changing is
// held.
func (s *Server) open(path string, to Target) error {
	s.mu.Lock()
	if k := s.sockets[path]; k != nil {
		k.to = to
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	dir := filepath.Dir(path)
	if below(s.cfg.Dir, path) {
		dir = s.cfg.Dir // it is short
	}
	l, err := listen(dir, path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = l.Close()
		return domain.ErrShuttingDown
	}
	s.sockets[path] = &socket{listener: l, to: to}
	select {
	case s.news <- struct{}{}:
	default:
	}
	return nil
}

// drop takes a socket away. s.changing is held.
func (s *Server) drop(path string) {
	s.mu.Lock()
	k := s.sockets[path]
	delete(s.sockets, path)
	s.mu.Unlock()
	if k != nil {
		_ = k.listener.Close()
		remove(s.cfg.Dir, path)
	}
}

func (s *Server) target(k *socket) Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return k.to
}
