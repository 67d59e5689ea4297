package docker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// lingerTime is how long a connection is kept after the last byte to the
// client, for it to read what was sent before a close could discard it. It is
// net/http's own delay for the same purpose.
const lingerTime = 500 * time.Millisecond

// session is one client connection. Its own goroutine (requests.go) reads the
// client; a second one (responses.go) reads the engine. At most one request is
// on its way: what a client sends early stays in the window until the response
// before it is through, or until a response turns the connection opaque, as
// 101 does.
type session struct {
	server *Server
	client *client
	in     *window // of the goroutine that reads the client
	cancel context.CancelFunc
	ended  chan struct{}  // closed when nobody reads the client any more
	helper sync.WaitGroup // goroutines beside the one that reads the client

	mu        sync.Mutex
	up        *upstream // nil: none, or it went away between requests
	exchange  *exchange // nil: between requests
	opaque    bool      // both directions are only tunnelled from here on
	clientEOF bool      // the client ended its data
	engineEOF bool      // the engine ended its data in an opaque connection
	held      bool      // the client's reader waits for the exchange to move on
	lastOne   bool      // the response on its way is the last, by HTTP's rules
	closing   bool      // the last answer was given; what still comes is dropped
	passedEOF bool      // the engine was told of clientEOF
}

// exchange is a request and its response.
type exchange struct {
	method  string
	route   endpoint
	role    domain.Role
	replay  []byte // the request, if it may be sent again
	release func() // lets the machine idle

	// under session.mu
	waited   func() // ends what port.Starts was told; nil while it is told nothing
	handed   bool   // the request's head was written: its loss is the responder's to handle
	sent     bool   // nothing of the request is to come after what is being written
	started  bool   // bytes of the response are on their way to the client
	answered bool   // the response is complete
}

func newSession(s *Server, c *client, cancel context.CancelFunc) *session {
	return &session{server: s, client: c, in: s.windows.borrow(), cancel: cancel, ended: make(chan struct{})}
}

// run serves the connection and returns when nothing is left of it.
func (s *session) run(ctx context.Context) {
	s.serve(ctx)
	close(s.ended)
	s.abort()
	s.helper.Wait()
	s.mu.Lock()
	up, x := s.up, s.exchange
	s.mu.Unlock()
	if up != nil {
		up.close()
	}
	if x != nil {
		s.release(x)
	}
	s.server.windows.give(s.in)
}

// abort closes both connections as they are. Every wait of the session ends.
func (s *session) abort() {
	s.cancel()
	_ = s.client.Close()
}

// drain ends the session if it is between requests; otherwise the end of the
// exchange does.
func (s *session) drain() {
	s.mu.Lock()
	idle := s.exchange == nil && !s.opaque
	s.mu.Unlock()
	if idle {
		s.abort()
	}
}

// begin opens an exchange; last says that the client wants no other.
func (s *session) begin(x *exchange, last bool) {
	s.server.counts.activeRequests.Add(1)
	if !x.route.observes {
		x.release = s.server.engines.Hold(x.role)
	}
	s.mu.Lock()
	s.exchange = x
	s.lastOne = last
	s.mu.Unlock()
}

// somebodyWaits tells port.Starts of a request that is about to reach its
// engine. While the engine is still waited for, what it starts by itself is
// nobody's request.
func (s *session) somebodyWaits(x *exchange) {
	starts := s.server.opts.Starts
	if starts == nil || !x.route.starts {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.waited == nil && !x.started { // an engine may answer what it was not asked yet
		x.waited = starts.Starting(x.role, x.route.container)
	}
}

func (s *session) release(x *exchange) {
	s.server.counts.activeRequests.Add(-1)
	s.mu.Lock()
	x.nobodyWaits()
	s.mu.Unlock()
	if x.release != nil {
		x.release()
	}
}

// nobodyWaits says that the client has its answer, never will, or that its
// request has to be sent again. session.mu is held.
func (x *exchange) nobodyWaits() {
	if x.waited != nil {
		x.waited()
		x.waited = nil
	}
}

// conclude ends the exchange if both its halves are through. mark runs under
// the lock first.
func (s *session) conclude(x *exchange, mark func()) {
	s.mu.Lock()
	mark()
	over := x.sent && x.answered && s.exchange == x && !s.opaque
	if over {
		s.exchange = nil
		s.wake()
	}
	s.mu.Unlock()
	if !over {
		return
	}
	s.release(x)
	if s.server.draining() {
		s.abort()
	}
}

// turnOpaque stops all reading along.
func (s *session) turnOpaque() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opaque = true
	s.wake()
}

// wake interrupts the client's reader if it holds bytes back. s.mu is held.
func (s *session) wake() {
	if s.held {
		s.client.interrupt()
	}
}

// toClient passes bytes on and reports whether the client took them.
func (s *session) toClient(p []byte) bool {
	n, err := s.client.Write(p)
	s.server.counts.toClient.Add(uint64(n))
	if err != nil {
		s.abort()
	}
	return err == nil
}

// linger ends the data to the client and closes once it had time to read it.
// It is for helpers, not for the goroutine that reads the client.
func (s *session) linger() {
	_ = s.client.CloseWrite()
	t := time.NewTimer(lingerTime)
	defer t.Stop()
	select {
	case <-s.ended:
	case <-t.C:
	}
	s.abort()
}

// logFailure notes a request that was answered in the engine's place.
func (s *session) logFailure(method string, e endpoint, err error) {
	if r := (*refusal)(nil); errors.As(err, &r) {
		err = errRefused
	}
	s.server.log.Warn("docker request not served", "method", method, "route", e.template(), "error", err)
}

func (s *session) logRequest(ctx context.Context, method string, e endpoint, role domain.Role) {
	if s.server.log.Enabled(ctx, slog.LevelDebug) {
		s.server.log.Debug("docker request", "method", method, "route", e.template(), "role", string(role))
	}
}

// upstream is one stream to an engine.
type upstream struct {
	engine  port.Engine
	role    domain.Role
	stream  port.Stream
	deaf    bool // takes no more bytes; of the goroutine that reads the client
	closed  chan struct{}
	closing sync.Once

	// under session.mu
	retired bool // replaced: nothing it says counts any more
	dead    bool // its responder has seen its end
}

// close ends both directions. It may be called again.
func (u *upstream) close() {
	u.closing.Do(func() {
		close(u.closed)
		_ = u.stream.Close()
	})
}

// watch closes the stream when its engine's run is over or ctx ends.
func (u *upstream) watch(ctx context.Context) {
	select {
	case <-u.engine.Gone():
	case <-ctx.Done():
	case <-u.closed:
	}
	u.close()
}
