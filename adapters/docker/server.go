package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"arcbox/adapters/internal/localsocket"
	"arcbox/application/port"
	"arcbox/domain"
)

// Options says how the Docker API is served.
type Options struct {
	// Path of the Unix socket. Its directory is made, with mode 0700, if it is
	// missing.
	Path string
	// Wait bounds how long a request is held while its machine boots. Zero
	// means two minutes.
	Wait time.Duration
	// DialTimeout bounds opening one stream to an engine that answers. Zero
	// means ten seconds.
	DialTimeout time.Duration
	// Create judges a POST /containers/create by its query and its whole body. It
	// chooses the role, and the body that the engine gets instead, nil for the
	// client's own bytes. An error is the answer to the client. It may wait for the
	// machine. A nil Create sends everything as it is to the native role.
	Create func(ctx context.Context, query url.Values, body []byte) (role domain.Role, newBody []byte, err error)
	// Service judges a POST /services/create or /services/{id}/update like Create;
	// the role is always the native one. Nil lets everything pass.
	Service func(ctx context.Context, body []byte) (newBody []byte, err error)
	// Starts is told of requests that start containers. Nil tells nobody.
	Starts port.Starts
	// Log gets methods and route templates, at debug; never names, queries,
	// header fields or bodies, which carry secrets. Nil discards.
	Log *slog.Logger
}

// Stats counts what a Server did since it was made.
type Stats struct {
	Connections       uint64 // accepted
	ActiveConnections int64
	Requests          uint64 // heads read
	ActiveRequests    int64  // held or on their way; a tunnelled connection counts as one
	BytesToEngine     uint64
	BytesToClient     uint64
}

// Server serves the Docker API on a Unix socket: Listen, then Serve, then
// Close.
type Server struct {
	opts    Options
	engines port.Engines
	log     *slog.Logger
	windows windows
	counts  counters

	mu       sync.Mutex
	listener *localsocket.Listener
	sessions map[*session]struct{}
	closing  bool
	running  sync.WaitGroup // one for each session
}

type counters struct {
	connections, requests, toEngine, toClient atomic.Uint64
	activeConnections, activeRequests         atomic.Int64
}

// NewServer returns a server that does nothing yet.
func NewServer(opts Options, engines port.Engines) *Server {
	if opts.Wait <= 0 {
		opts.Wait = 2 * time.Minute
	}
	if opts.DialTimeout <= 0 {
		opts.DialTimeout = 10 * time.Second
	}
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{opts: opts, engines: engines, log: log, sessions: map[*session]struct{}{}}
}

// Listen binds the socket. Clients can connect from its return on; they are
// served once Serve runs. It returns domain.ErrInvalid for a path that is too
// long, domain.ErrAlreadyRunning when somebody answers on it,
// domain.ErrAlreadyExists when it is not a socket, domain.ErrPermission when
// others can write to its directory. Only the user's own processes are served.
func (s *Server) Listen() error {
	l, err := localsocket.Listen(s.opts.Path, s.log)
	if err != nil {
		return fmt.Errorf("listen for Docker clients: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.listener != nil {
		_ = l.Close()
		return fmt.Errorf("listen for Docker clients again: %w", domain.ErrInvalidState)
	}
	s.listener = l
	return nil
}

// Serve accepts clients until Close, when it returns nil, or until ctx ends,
// when it aborts every connection, waits for them and returns nil. Any other
// return is the socket's failure.
func (s *Server) Serve(ctx context.Context) error {
	s.mu.Lock()
	l, closing := s.listener, s.closing
	s.mu.Unlock()
	if closing {
		return nil
	}
	if l == nil {
		return fmt.Errorf("serve Docker clients before Listen: %w", domain.ErrInvalidState)
	}
	aborted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(aborted)
		s.stopAccepting()
		s.abortAll()
	})
	err := s.accept(ctx, l)
	if !stop() {
		<-aborted
		s.running.Wait()
	}
	return err
}

func (s *Server) accept(ctx context.Context, l *localsocket.Listener) error {
	pause := time.Duration(0)
	for {
		conn, err := l.AcceptUnix()
		if err == nil {
			pause = 0
			s.start(ctx, conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		// Descriptors may have run out: they come back as connections end.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.log.Warn("accept a Docker client", "error", err, "again_in", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (s *Server) start(ctx context.Context, conn *net.UnixConn) {
	c, err := newClient(conn)
	if err != nil {
		_ = conn.Close()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	session := newSession(s, c, cancel)
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		cancel()
		_ = conn.Close()
		return
	}
	s.sessions[session] = struct{}{}
	s.running.Add(1)
	s.mu.Unlock()
	s.counts.connections.Add(1)
	s.counts.activeConnections.Add(1)
	go func() {
		defer s.running.Done()
		session.run(ctx)
		s.counts.activeConnections.Add(-1)
		s.mu.Lock()
		delete(s.sessions, session)
		s.mu.Unlock()
	}()
}

// Close stops accepting, ends idle connections, lets requests that are on
// their way finish until ctx ends, and then aborts what is left. It returns
// when every connection is gone; the error is ctx's if some had to be
// aborted. The socket file is removed.
func (s *Server) Close(ctx context.Context) error {
	s.stopAccepting()
	for _, session := range s.open() {
		session.drain()
	}
	drained := make(chan struct{})
	go func() {
		s.running.Wait()
		close(drained)
	}()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		s.abortAll()
		<-drained
		return context.Cause(ctx)
	}
}

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	return Stats{
		Connections:       s.counts.connections.Load(),
		ActiveConnections: s.counts.activeConnections.Load(),
		Requests:          s.counts.requests.Load(),
		ActiveRequests:    s.counts.activeRequests.Load(),
		BytesToEngine:     s.counts.toEngine.Load(),
		BytesToClient:     s.counts.toClient.Load(),
	}
}

func (s *Server) stopAccepting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	if s.listener != nil {
		_ = s.listener.Close()
	}
}

func (s *Server) draining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) open() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := make([]*session, 0, len(s.sessions))
	for session := range s.sessions {
		open = append(open, session)
	}
	return open
}

func (s *Server) abortAll() {
	for _, session := range s.open() {
		session.abort()
	}
}
