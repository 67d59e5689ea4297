package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"net/url"
	"strconv"

	"arcbox/domain"
)

// createLimit bounds the bodies that are read to be judged. The largest that
// clients send are some kilobytes.
const createLimit = 8 << 20

var (
	// errTooLarge is a body that would not be judged; passing it would be a way
	// around the judgment.
	errTooLarge = errors.New("the request's body is too large")
	// errRefused is what the log says of a refusal, whose text quotes the body.
	errRefused = errors.New("what the request asks for is refused; the client has the reason")
)

// refusal is the answer of a judge.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// judges reports whether requests of e are judged.
func (s *session) judges(e endpoint) bool {
	return e.create && s.server.opts.Create != nil || e.service && s.server.opts.Service != nil
}

// judged takes a request, whose head is the window's first size bytes, off the
// window and returns the whole of what the engine gets. read says that all of
// the client's was read, also with an error. A client that left is errVanished.
func (s *session) judged(ctx context.Context, h *requestHead, e endpoint, size int, read *bool) (request []byte, role domain.Role, err error) {
	request, err = s.whole(h, size)
	if err != nil {
		return nil, "", err
	}
	*read = true
	content, err := decoded(request[size:], h.body())
	if err != nil {
		return nil, "", err
	}
	role, replacement, err := s.judge(ctx, e, content)
	if err != nil {
		if errors.Is(err, domain.ErrInvalid) {
			err = &refusal{err}
		}
		return nil, "", err
	}
	if replacement != nil {
		request = withBody(request[:size], replacement)
	}
	return request, role, nil
}

// judge asks the hooks, which may wait for the machine.
func (s *session) judge(ctx context.Context, e endpoint, content []byte) (role domain.Role, replacement []byte, err error) {
	err = s.watched(ctx, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, s.server.opts.Wait)
		defer cancel()
		if e.service {
			replacement, err = s.server.opts.Service(ctx, content)
			return err
		}
		query, malformed := url.ParseQuery(e.query)
		if malformed != nil {
			query = url.Values{}
		}
		role, replacement, err = s.server.opts.Create(ctx, query, content)
		return err
	})
	if role == "" {
		role = domain.RoleNative
	}
	return role, replacement, err
}

// whole reads a request with its body and takes it off the window. What does
// not end, or not as its framing says, is refused: dockerd would use what came.
func (s *session) whole(h *requestHead, size int) ([]byte, error) {
	b := h.body()
	if b.kind == bodyLength && b.left > createLimit {
		return nil, tooLarge()
	}
	request := bytes.Clone(s.in.bytes()[:size])
	s.in.skip(size)
	// The engine will say the same again when it reads the body; clients take
	// any number of interim responses (RFC 9110, 15.2).
	if h.expect && len(s.in.bytes()) == 0 && b.kind != bodyNone && !s.toClient([]byte("HTTP/1.1 100 Continue\r\n\r\n")) {
		return nil, errVanished
	}
	for {
		n, done, err := b.follow(s.in.bytes())
		if err != nil {
			return nil, fmt.Errorf("read the request's body: its chunks have no plain form: %w", domain.ErrInvalid)
		}
		if len(request)-size+n > createLimit {
			return nil, tooLarge()
		}
		request = append(request, s.in.bytes()[:n]...)
		s.in.skip(n)
		if done {
			return request, nil
		}
		if s.clientEOF {
			return nil, fmt.Errorf("read the request's body: it ends early: %w", domain.ErrInvalid)
		}
		if err := s.receive(); err != nil {
			return nil, errVanished
		}
	}
}

func tooLarge() error {
	return fmt.Errorf("%w: what it binds is only looked at up to %d bytes", errTooLarge, createLimit)
}

// content is the body that raw carries, or nil if raw is not all of it or too
// much.
func content(raw []byte, framing body, whole bool) []byte {
	if !whole || len(raw) > createLimit {
		return nil
	}
	p, err := decoded(raw, framing)
	if err != nil {
		return nil
	}
	return p
}

// decoded takes the framing off a whole body.
func decoded(raw []byte, framing body) ([]byte, error) {
	if framing.kind != bodyChunked {
		return raw, nil
	}
	p, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(raw)))
	if err != nil {
		return nil, fmt.Errorf("read the request's body: %w: %w", err, domain.ErrInvalid)
	}
	return p, nil
}

// withBody is a request with another body and the head that this needs. The
// body is there already: nothing has to be waited for.
func withBody(head, content []byte) []byte {
	out := make([]byte, 0, len(head)+len("Content-Length: 00000000\r\n\r\n")+len(content))
	for rest, first := head, true; ; first = false {
		end := bytes.IndexByte(rest, '\n') + 1
		line, after := rest[:end], rest[end:]
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		name, _, _ := bytes.Cut(line, []byte{':'})
		if first || !(is(name, "Content-Length") || is(name, "Transfer-Encoding") || is(name, "Trailer") || is(name, "Expect")) {
			out = append(out, line...)
		}
		rest = after
	}
	out = append(out, "Content-Length: "...)
	out = strconv.AppendInt(out, int64(len(content)), 10)
	out = append(out, "\r\n\r\n"...)
	return append(out, content...)
}
