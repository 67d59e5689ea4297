package docker

import (
	"context"
	"errors"
	"io"
)

// responder reads one engine stream after another for a session: normally
// one; a second if a request is sent again.
type responder struct {
	session *session
	up      *upstream
	out     *window
	seen    int // bytes of an incomplete head that were searched for its end
	phase   responsePhase
	body    body
	raw     bool // an opaque connection that the engine may still read from, after its end of data
}

type responsePhase uint8

const (
	atHead responsePhase = iota
	inBody
	past // nothing to find any more
)

func (s *session) respond(ctx context.Context, up *upstream) {
	r := &responder{session: s, up: up, out: s.server.windows.borrow()}
	defer s.server.windows.give(r.out)
	for {
		n, err := r.out.read(r.up.stream)
		if n > 0 && !r.pass() {
			return
		}
		if err != nil && !r.end(ctx, err) {
			return
		}
	}
}

// pass sends on what the window holds, except an incomplete head. It reports
// whether the stream still counts.
func (r *responder) pass() bool {
	s := r.session
	for len(r.out.bytes()) > 0 {
		s.mu.Lock()
		x := s.exchange
		known := x != nil && !x.answered && !s.opaque
		s.mu.Unlock()
		if !known && r.phase != past {
			if x != nil && !r.answers(x) {
				return false
			}
			r.phase, r.raw = past, true // no request that was understood: nor is this
		}
		n, over, ok := r.follow(x)
		if !ok {
			return false
		}
		if n == 0 {
			return true // the rest of the head is to come
		}
		if !s.toClient(r.out.bytes()[:n]) {
			return false
		}
		r.out.skip(n)
		switch {
		case over:
			r.phase = atHead
			s.conclude(x, func() { x.answered = true })
		case r.phase == past:
			// After a 101 or before a raw stream, the client may send data.
			s.turnOpaque()
		}
	}
	return true
}

// follow returns how many bytes of the window can go to the client, and
// whether the response to x is over with them. It is not ok when x was taken
// to another stream.
func (r *responder) follow(x *exchange) (n int, over, ok bool) {
	p := r.out.bytes()
	for n < len(p) && !over {
		switch r.phase {
		case past:
			return len(p), false, true
		case inBody:
			k, done, err := r.body.follow(p[n:])
			n += k
			over = done
			if err != nil {
				r.phase, r.raw = past, true
			}
		case atHead:
			end := headEnd(p[n:], r.seen)
			if end < 0 && len(p)-n < headLimit {
				r.seen = len(p) - n
				return n, false, true
			}
			r.seen = 0
			if !r.answers(x) {
				return 0, false, false
			}
			if end < 0 {
				r.phase, r.raw = past, true
				continue
			}
			over = r.head(x, p[n:n+end])
			if r.phase != past || r.body.kind == bodyUntilClose {
				n += end
			}
		}
	}
	return n, over, true
}

// answers notes that the client is about to see the response to x, unless x
// was taken to another stream.
func (r *responder) answers(x *exchange) bool {
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	if r.up.retired {
		return false
	}
	x.started = true
	x.nobodyWaits()
	return true
}

// head takes a response's head and reports whether it is all of the response
// to x.
func (r *responder) head(x *exchange, p []byte) (over bool) {
	h, err := parseResponse(p)
	if err != nil {
		r.phase, r.raw, r.body = past, true, body{}
		return false
	}
	if h.interim() {
		return false
	}
	if h.last() {
		r.session.mu.Lock()
		r.session.lastOne = true
		r.session.mu.Unlock()
	}
	r.body = h.body(x.method)
	switch r.body.kind {
	case bodyNone:
		return true
	case bodyLength:
		if r.body.left == 0 {
			return true
		}
	case bodyUntilClose:
		r.phase = past
		r.raw = h.status == 101 || x.method != "GET"
		return false
	}
	r.phase = inBody
	return false
}

// end handles the end of the engine's data, err being io.EOF, or of the
// stream. It reports whether another stream took its place.
func (r *responder) end(ctx context.Context, err error) bool {
	s := r.session
	s.mu.Lock()
	r.up.dead = true
	x := s.exchange
	switch {
	case r.up.retired:
		s.mu.Unlock()
	case s.opaque:
		s.engineEOF = true
		both := s.clientEOF || r.up.deaf
		s.mu.Unlock()
		r.endOpaque(err, both)
	case x == nil:
		s.up = nil
		last := s.lastOne
		s.mu.Unlock()
		r.up.close()
		// A client that may send another request gets a new stream for it. To
		// close now could cross that request on its way.
		if last {
			s.linger()
		}
	case !x.started && !x.handed:
		s.mu.Unlock() // the goroutine that writes the request sees that it is dead
	case !x.started:
		sent, eof := x.sent, s.clientEOF
		s.mu.Unlock()
		r.up.close()
		return r.lost(ctx, x, sent, eof)
	case x.answered:
		// The engine did not want the rest of the request.
		s.closing = true
		s.mu.Unlock()
		s.linger()
	default:
		s.mu.Unlock()
		s.abort() // in the middle of a response: no end that looks like a good one
	}
	return false
}

func (r *responder) endOpaque(err error, both bool) {
	s := r.session
	switch {
	case !errors.Is(err, io.EOF):
		s.abort()
	case r.raw && !both:
		_ = s.client.CloseWrite()
	default:
		s.linger()
	}
}

// lost handles an engine that ended without a byte of its answer: the request
// is sent again to the next one if that cannot do harm, else it fails. An engine
// may close for the client having ended its data: then there is no second try.
func (r *responder) lost(ctx context.Context, x *exchange, sent, eof bool) bool {
	s := r.session
	err := goneError(r.up, x)
	if x.replay != nil && !eof {
		var up *upstream
		if up, err = s.resend(ctx, x, r.up); err == nil {
			r.out.skip(len(r.out.bytes()))
			r.up, r.seen, r.phase = up, 0, atHead
			return true
		}
	}
	if ctx.Err() != nil {
		return false
	}
	s.logFailure(x.method, x.route, err)
	if !s.toClient(errorAnswer(err, x.method, !sent)) {
		return false
	}
	s.mu.Lock()
	s.up = nil
	s.closing = !sent
	s.mu.Unlock()
	s.conclude(x, func() { x.answered = true })
	if !sent {
		s.linger()
	}
	return false
}

// resend gives x to the next engine, once.
func (s *session) resend(ctx context.Context, x *exchange, old *upstream) (*upstream, error) {
	request := x.replay
	x.replay = nil
	if err := settle(ctx, old.engine); err != nil {
		return nil, err
	}
	engine, err := s.ready(ctx, x.role, unwatched)
	if err != nil {
		return nil, err
	}
	up, err := s.dial(ctx, engine, x.role)
	if err != nil {
		return nil, err
	}
	if _, err := s.writeHead(up, request); err != nil {
		up.close()
		return nil, goneError(up, x)
	}
	s.mu.Lock()
	s.up = up
	eof := s.clientEOF
	s.mu.Unlock()
	if eof {
		_ = up.stream.CloseWrite()
	}
	return up, nil
}
