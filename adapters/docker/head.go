package docker

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// headLimit bounds an HTTP head that the reader follows. A longer one turns
// the connection opaque; it is not an error.
const headLimit = 64 << 10

// errOpaque says that bytes are not HTTP/1.1 in the plain forms that the
// reader follows. What is ambiguous is never guessed at: a tunnel that gives
// up reading still carries every byte.
var errOpaque = errors.New("not plain HTTP/1.1")

// headEnd returns the length of the head at the start of p, its blank line
// included, or -1 if p does not hold all of it. from is where an earlier call
// on a shorter p may have stopped looking.
func headEnd(p []byte, from int) int {
	for i := max(0, from-3); i < len(p); {
		nl := bytes.IndexByte(p[i:], '\n')
		if nl < 0 {
			return -1
		}
		i += nl + 1
		switch {
		case i < len(p) && p[i] == '\n':
			return i + 1
		case i+1 < len(p) && p[i] == '\r' && p[i+1] == '\n':
			return i + 2
		}
	}
	return -1
}

// fields are the header fields that decide where a message ends.
type fields struct {
	length  int64 // -1: no Content-Length
	chunked bool
	close   bool // Connection: close
	keep    bool // Connection: keep-alive
	upgrade bool
	expect  bool // Expect: 100-continue
}

type requestHead struct {
	fields
	method, target string
	minor          int
}

// body returns the framing of the request's body.
func (h *requestHead) body() body {
	switch {
	case h.chunked:
		return body{kind: bodyChunked}
	case h.length > 0:
		return body{kind: bodyLength, left: h.length}
	}
	return body{}
}

// last reports whether the client wants no further request on the connection.
func (h *requestHead) last() bool { return h.close || h.minor == 0 && !h.keep }

type responseHead struct {
	fields
	status, minor int
}

// interim reports whether another response to the same request follows.
func (h *responseHead) interim() bool { return h.status < 200 && h.status != 101 }

// last reports whether the engine closes the connection after this response.
func (h *responseHead) last() bool { return h.close || h.minor == 0 && !h.keep }

// body returns the framing of the response's body (RFC 9112, 6.3).
func (h *responseHead) body(method string) body {
	switch {
	case h.status == 101:
		return body{kind: bodyUntilClose}
	case h.status < 200, h.status == 204, h.status == 304, method == "HEAD":
		return body{}
	case h.chunked:
		return body{kind: bodyChunked}
	case h.length >= 0:
		return body{kind: bodyLength, left: h.length}
	}
	return body{kind: bodyUntilClose}
}

// parseRequest reads a whole request head, its blank line included.
func parseRequest(p []byte) (requestHead, error) {
	line, rest := cutLine(p)
	method, after, ok := bytes.Cut(line, []byte{' '})
	target, proto, ok2 := bytes.Cut(after, []byte{' '})
	minor := httpMinor(proto)
	if !ok || !ok2 || minor < 0 || len(target) == 0 || !isToken(method) || string(method) == "CONNECT" {
		return requestHead{}, errOpaque
	}
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return requestHead{}, errOpaque
		}
	}
	f, err := parseFields(rest, minor)
	if err != nil {
		return requestHead{}, err
	}
	return requestHead{fields: f, method: string(method), target: string(target), minor: minor}, nil
}

// parseResponse reads a whole response head, its blank line included.
func parseResponse(p []byte) (responseHead, error) {
	line, rest := cutLine(p)
	proto, after, _ := bytes.Cut(line, []byte{' '})
	code, _, _ := bytes.Cut(after, []byte{' '})
	minor := httpMinor(proto)
	status, err := strconv.Atoi(string(code))
	if minor < 0 || err != nil || len(code) != 3 || status < 100 {
		return responseHead{}, errOpaque
	}
	f, err := parseFields(rest, minor)
	if err != nil {
		return responseHead{}, err
	}
	return responseHead{fields: f, status: status, minor: minor}, nil
}

func parseFields(p []byte, minor int) (fields, error) {
	f := fields{length: -1}
	for {
		var line []byte
		if line, p = cutLine(p); len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || !isToken(name) || bytes.IndexByte(value, '\r') >= 0 || bytes.IndexByte(value, 0) >= 0 {
			return f, errOpaque
		}
		if err := f.take(name, value, minor); err != nil {
			return f, err
		}
	}
	if f.chunked && f.length >= 0 {
		return f, errOpaque
	}
	return f, nil
}

func (f *fields) take(name, value []byte, minor int) error {
	switch len(name) { // of few lengths only; most fields are passed over at once
	case len("Expect"), len("Upgrade"), len("Connection"), len("Content-Length"), len("Transfer-Encoding"):
	default:
		return nil
	}
	v := string(bytes.Trim(value, " \t"))
	switch {
	case is(name, "Content-Length"):
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil || f.length >= 0 || v[0] == '+' {
			return errOpaque
		}
		f.length = int64(n)
	case is(name, "Transfer-Encoding"):
		if f.chunked || minor == 0 || !strings.EqualFold(v, "chunked") {
			return errOpaque
		}
		f.chunked = true
	case is(name, "Connection"):
		for option := range strings.SplitSeq(v, ",") {
			switch option = strings.Trim(option, " \t"); {
			case strings.EqualFold(option, "close"):
				f.close = true
			case strings.EqualFold(option, "keep-alive"):
				f.keep = true
			}
		}
	case is(name, "Upgrade"):
		f.upgrade = true
	case is(name, "Expect"):
		f.expect = strings.EqualFold(v, "100-continue")
	}
	return nil
}

func is(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// cutLine splits the first line off p, without its line end.
func cutLine(p []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(p, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), rest
}

// httpMinor returns the y of HTTP/1.y, or -1 for any other protocol, such as
// the HTTP/2.0 of a prior-knowledge preface.
func httpMinor(proto []byte) int {
	switch string(proto) {
	case "HTTP/1.1":
		return 1
	case "HTTP/1.0":
		return 0
	}
	return -1
}

// isToken reports whether p is a token of RFC 9110, 5.6.2.
func isToken(p []byte) bool {
	for _, c := range p {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return len(p) > 0
}
