package docker

import (
	"bytes"
	"context"
	"errors"
	"io"

	"arcbox/domain"
)

// serve reads requests until the client or the server is done with the
// connection.
func (s *session) serve(ctx context.Context) {
	for {
		p, err := s.next()
		if err == nil && p == nil {
			s.mu.Lock()
			up := s.up
			s.mu.Unlock()
			if up != nil {
				_ = s.tunnel(up)
			}
			return
		}
		var h requestHead
		if err == nil {
			h, err = parseRequest(p)
		}
		if errors.Is(err, errOpaque) {
			s.serveOpaque(ctx)
			return
		}
		if err != nil || !s.serveOne(ctx, &h, len(p)) {
			return
		}
	}
}

// next returns the next request's head, still in the window, when the
// exchange before it is over; nil when the connection is opaque by then;
// errOpaque when what comes is no head; another error when there is nothing
// left to serve.
func (s *session) next() ([]byte, error) {
	for seen := 0; ; {
		p := s.in.bytes()
		s.mu.Lock()
		if s.held {
			s.client.resume()
		}
		s.held = false
		if s.opaque {
			s.mu.Unlock()
			return nil, nil
		}
		busy, closing, eof := s.exchange != nil, s.closing, s.clientEOF
		// Nothing that the client sends can end this wait when there are bytes
		// already: the responder must.
		s.held = busy && (len(p) > 0 || eof)
		s.mu.Unlock()
		switch {
		case closing:
			s.in.skip(len(p))
			if eof {
				return nil, io.EOF
			}
		case busy:
			s.passEOF()
		case len(p) > 0:
			if end := headEnd(p, seen); end >= 0 {
				return p[:end], nil
			}
			if seen = len(p); s.in.full() {
				return nil, errOpaque
			}
			fallthrough
		default:
			if eof {
				return nil, io.EOF
			}
		}
		if err := s.receive(); err != nil {
			return nil, err
		}
	}
}

// serveOne serves one request, whose head is the window's first size bytes.
// It reports whether there may be another one.
func (s *session) serveOne(ctx context.Context, h *requestHead, size int) bool {
	s.server.counts.requests.Add(1)
	e := classify(h.method, h.target)
	b := h.body()
	if e.ping && b.kind == bodyNone {
		if _, up := s.server.engines.Peek(domain.RoleNative); !up {
			s.logRequest(ctx, h.method, e, domain.RoleNative)
			s.in.skip(size)
			return s.toClient(pingAnswer(s.server.engines.Known(domain.RoleNative), h.method, h.last())) && !h.last()
		}
	}
	var request []byte // what is sent first: the head, and what came along of the body
	var done bool      // that is all of it
	role, left, inWindow := domain.RoleNative, b, true
	if s.judges(e) {
		inWindow = false
		var err error
		request, role, err = s.judged(ctx, h, e, size, &done)
		if errors.Is(err, errVanished) || ctx.Err() != nil {
			return false
		}
		if err != nil {
			return s.fail(h, e, done, err)
		}
	} else {
		request, done = s.opening(size, &left)
	}
	if e.starts && e.container == "" {
		e.container = containerIn(content(request[size:], b, done))
	}
	s.logRequest(ctx, h.method, e, role)

	x := &exchange{method: h.method, route: e, role: role, sent: done}
	if (h.method == "GET" || h.method == "HEAD") && b.kind == bodyNone && !h.upgrade {
		x.replay = bytes.Clone(request)
	}
	s.begin(x, h.last())
	up, err := s.send(ctx, x, request)
	if errors.Is(err, errVanished) || ctx.Err() != nil {
		return false
	}
	if inWindow {
		s.in.skip(len(request))
	}
	if err != nil {
		goesOn := s.fail(h, e, done, err)
		s.conclude(x, func() { x.sent, x.answered = true, true })
		return goesOn
	}
	if !done {
		if err := s.forwardBody(up, &left); err != nil {
			return false
		}
		s.conclude(x, func() { x.sent = true })
	}
	return true
}

// opening returns a request's head with what the window holds of its body,
// and whether that is the whole request.
func (s *session) opening(size int, left *body) (request []byte, done bool) {
	whole := *left
	n, done, err := left.follow(s.in.bytes()[size:])
	if err != nil {
		*left = whole // the body's loop meets the same bytes and gives up reading
		n = 0
	}
	return s.in.bytes()[:size+n], done
}

// serveOpaque tunnels a connection whose next bytes are no HTTP/1.1 request,
// to the native role.
func (s *session) serveOpaque(ctx context.Context) {
	s.server.counts.requests.Add(1)
	x := &exchange{method: "tunnel", route: endpoint{path: "/"}, role: domain.RoleNative}
	s.logRequest(ctx, x.method, x.route, x.role)
	s.begin(x, true)
	s.mu.Lock()
	s.opaque = true
	s.mu.Unlock()
	request := s.in.bytes()
	up, err := s.send(ctx, x, request)
	if err != nil {
		if !errors.Is(err, errVanished) && ctx.Err() == nil {
			s.logFailure(x.method, x.route, err)
			// Not even the version is known, but a human may read it.
			_ = s.toClient(errorAnswer(err, x.method, true))
			s.discard()
		}
		return
	}
	s.in.skip(len(request))
	_ = s.tunnel(up)
}

// send gives the first bytes of a request to an engine: the one of the
// request before, if it is still the role's, or a new one. What certainly did
// not arrive is tried twice.
func (s *session) send(ctx context.Context, x *exchange, request []byte) (*upstream, error) {
	for again := false; ; {
		engine, err := s.ready(ctx, x.role, s.watched)
		if err != nil {
			return nil, err
		}
		up, reused := s.reuse(engine, x.role)
		if !reused {
			up, err = s.open(ctx, engine, x.role)
		}
		if err != nil && again {
			return nil, err
		}
		if err != nil {
			again = true
			if err := s.watched(ctx, func(ctx context.Context) error { return settle(ctx, engine) }); err != nil {
				return nil, err
			}
			continue
		}
		s.somebodyWaits(x)
		n, err := s.writeHead(up, request)
		s.mu.Lock()
		lost := !x.started && (up.dead || err != nil && n == 0)
		if !lost {
			x.handed = true
			up.deaf = up.deaf || err != nil
			s.mu.Unlock()
			return up, nil
		}
		x.nobodyWaits()
		up.retired = true
		s.up = nil
		s.mu.Unlock()
		up.close()
		if again && !reused || n > 0 && x.replay == nil {
			return nil, goneError(up, x)
		}
		again = again || !reused
	}
}

// fail answers with err in the engine's place and reports whether the
// connection can go on. read says that the request's body was read.
func (s *session) fail(h *requestHead, e endpoint, read bool, err error) bool {
	s.logFailure(h.method, e, err)
	last := !read || h.last()
	if !s.toClient(errorAnswer(err, h.method, last)) {
		return false
	}
	if last {
		s.discard()
	}
	return !last
}
