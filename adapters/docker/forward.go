package docker

import (
	"errors"
	"io"
	"os"
	"time"
)

// How long, and for how much, a client is read that already has its answer.
const (
	discardTime  = 2 * time.Second
	discardLimit = 64 << 20
)

// toEngine passes a part of the request on, watching the client meanwhile: an
// engine that does not read must not keep a connection whose client is gone.
// An engine that takes no more is not the end: its answer may be on its way.
func (s *session) toEngine(up *upstream, p []byte) error {
	for len(p) > 0 && !up.deaf {
		_ = up.stream.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := up.stream.Write(p)
		s.server.counts.toEngine.Add(uint64(n))
		p = p[n:]
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			if s.client.vanished() {
				return errVanished
			}
		default:
			s.refuse(up)
		}
	}
	return nil
}

// refuse notes that up takes no more bytes.
func (s *session) refuse(up *upstream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	up.deaf = true
	if s.opaque && s.engineEOF {
		s.cancel() // both directions are over
		_ = s.client.Close()
	}
}

// writeHead writes what a request begins with and returns how much of it went
// out.
func (s *session) writeHead(up *upstream, p []byte) (int, error) {
	_ = up.stream.SetWriteDeadline(time.Now().Add(s.server.opts.DialTimeout))
	n, err := up.stream.Write(p)
	s.server.counts.toEngine.Add(uint64(n))
	return n, err
}

// receive waits for news of the client: bytes for the window, the end of its
// data, an interruption, or errVanished.
func (s *session) receive() error {
	var err error
	if s.clientEOF || s.in.full() {
		err = s.client.awaitVanishing()
	} else {
		var n int
		if n, err = s.in.read(s.client); n > 0 {
			return nil
		}
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.mu.Lock()
		s.held = false
		s.client.resume()
		s.mu.Unlock()
		return nil
	case errors.Is(err, io.EOF) && !s.client.vanished():
		s.mu.Lock()
		s.clientEOF = true
		s.mu.Unlock()
		return nil
	}
	return errVanished
}

// passEOF passes the end of the client's data on, once all of them are.
func (s *session) passEOF() {
	s.mu.Lock()
	up := s.up
	due := s.clientEOF && !s.passedEOF && up != nil && len(s.in.bytes()) == 0
	s.passedEOF = s.passedEOF || due
	s.mu.Unlock()
	if due {
		_ = up.stream.CloseWrite()
	}
}

// forwardBody passes the rest of a request's body on. It returns early at the
// end of the client's data, and when the body cannot be followed: the session
// is then opaque.
func (s *session) forwardBody(up *upstream, b *body) error {
	for done := false; !done; {
		p := s.in.bytes()
		if len(p) == 0 {
			if s.clientEOF {
				return nil
			}
			if err := s.receive(); err != nil {
				return err
			}
			continue
		}
		var n int
		var err error
		if n, done, err = b.follow(p); err != nil {
			s.turnOpaque()
			return nil //nolint:nilerr // what cannot be parsed is passed on as it is
		}
		if err := s.toEngine(up, p[:n]); err != nil {
			return err
		}
		s.in.skip(n)
	}
	return nil
}

// tunnel passes bytes on to up until both directions are over.
func (s *session) tunnel(up *upstream) error {
	for {
		if p := s.in.bytes(); len(p) > 0 {
			if err := s.toEngine(up, p); err != nil {
				return err
			}
			s.in.skip(len(p))
		}
		s.passEOF()
		s.mu.Lock()
		over := s.clientEOF && s.engineEOF
		s.mu.Unlock()
		if over {
			return nil
		}
		if err := s.receive(); err != nil {
			return err
		}
	}
}

// discard drops what the client still sends, for a bounded time and amount,
// so that it gets to read the answer it already has.
func (s *session) discard() {
	_ = s.client.CloseWrite()
	_ = s.client.SetReadDeadline(time.Now().Add(discardTime))
	_, _ = io.CopyN(io.Discard, s.client, discardLimit)
}
