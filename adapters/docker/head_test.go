package docker

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeadEnd(t *testing.T) {
	for in, want := range map[string]int{
		"":                             -1,
		"GET / HTTP/1.1\r\n":           -1,
		"GET / HTTP/1.1\r\n\r":         -1,
		"GET / HTTP/1.1\r\n\r\n":       18,
		"GET / HTTP/1.1\r\n\r\nbody":   18,
		"a\nb: c\n\nrest":              8,
		"a\r\nb: c\r\n\r\nx\r\n\r\n":   11,
		"a\r\nb: c\n\r\nx":             10,
		"a\r\n \r\nb":                  -1,
		"GET / HTTP/1.1\r\nA: b\n\r\r": -1,
	} {
		require.Equal(t, want, headEnd([]byte(in), 0), "%q", in)
		for cut := range len(in) { // in two pieces
			if headEnd([]byte(in[:cut]), 0) < 0 {
				require.Equal(t, want, headEnd([]byte(in), cut), "%q after %d", in, cut)
			}
		}
	}
}

func TestWhatIsNotFollowed(t *testing.T) {
	for name, in := range map[string]string{
		"preface of HTTP/2":    "PRI * HTTP/2.0\r\n\r\n",
		"no version":           "GET /\r\n\r\n",
		"other version":        "GET / HTTP/1.2\r\n\r\n",
		"empty line first":     "\r\nGET / HTTP/1.1\r\n\r\n",
		"two spaces":           "GET  / HTTP/1.1\r\n\r\n",
		"tunnel":               "CONNECT a:1 HTTP/1.1\r\n\r\n",
		"folded field":         "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
		"space before colon":   "GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\n",
		"no colon":             "GET / HTTP/1.1\r\nContent-Length\r\n\r\n",
		"both lengths":         "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
		"two lengths":          "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
		"list of lengths":      "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n",
		"negative length":      "POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n",
		"signed length":        "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
		"empty length":         "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
		"length out of bounds": "POST / HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n\r\n",
		"gzip, chunked":        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"chunked twice":        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		"chunked in HTTP/1.0":  "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"carriage return":      "GET / HTTP/1.1\r\nA: b\rContent-Length: 3\r\n\r\n",
	} {
		_, err := parseRequest([]byte(in))
		require.ErrorIs(t, err, errOpaque, name)
	}
}

func TestResponseFraming(t *testing.T) {
	for _, tc := range []struct {
		head, method string
		kind         bodyKind
		left         int64
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "GET", bodyLength, 7},
		{"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "HEAD", bodyNone, 0},
		{"HTTP/1.1 204 No\r\n\r\n", "POST", bodyNone, 0},
		{"HTTP/1.1 304 No\r\nContent-Length: 7\r\n\r\n", "POST", bodyNone, 0},
		{"HTTP/1.1 100 Continue\r\n\r\n", "POST", bodyNone, 0},
		{"HTTP/1.1 101\r\n\r\n", "POST", bodyUntilClose, 0},
		{"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", "GET", bodyChunked, 0},
		{"HTTP/1.0 200 OK\r\n\r\n", "GET", bodyUntilClose, 0},
	} {
		h, err := parseResponse([]byte(tc.head))
		require.NoError(t, err, tc.head)
		require.Equal(t, body{kind: tc.kind, left: tc.left}, h.body(tc.method), tc.head)
	}
	for _, bad := range []string{"HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 -20 OK\r\n\r\n", "x\r\n\r\n"} {
		_, err := parseResponse([]byte(bad))
		require.ErrorIs(t, err, errOpaque, bad)
	}
}

// followAll runs p, a request and what comes after it, through the reader in
// pieces of step bytes. It returns the length of the request, or -1 if the
// reader gave up or p ended first.
func followAll(p []byte, step int) (h requestHead, size, end int) {
	size = headEnd(p, 0)
	if size < 0 {
		return h, -1, -1
	}
	h, err := parseRequest(p[:size])
	if err != nil {
		return h, size, -1
	}
	b, end := h.body(), size
	for {
		n, done, err := b.follow(p[end:min(len(p), end+step)])
		end += n
		if err != nil {
			return h, size, -1
		}
		if done {
			return h, size, end
		}
		if end == len(p) {
			return h, size, -1
		}
	}
}

// FuzzRequestFollowing: whenever the reader says where a request ends, net/http
// says the same, and reads the same from it.
func FuzzRequestFollowing(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: d\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\n\r\nhelloGET",
		"POST /a HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nPOST",
		"POST /a HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nA;x=\"y\"\r\n0123456789\r\n00\r\nT: v\r\nU: w\r\n\r\nrest",
		"POST /a HTTP/1.1\nHost: d\nConnection: close, Upgrade\nUpgrade: tcp\nExpect: 100-continue\n\n",
		"PUT /a HTTP/1.0\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, p []byte, step uint8) {
		h, size, end := followAll(p, int(step)+1)
		for _, other := range []int{1, 7, len(p) + 1} {
			if _, _, e := followAll(p, other); e != end {
				t.Fatalf("in pieces of %d: end %d, of %d: end %d", step+1, end, other, e)
			}
		}
		if end < 0 {
			return
		}
		src := bytes.NewReader(p)
		br := bufio.NewReaderSize(src, 16)
		req, err := http.ReadRequest(br)
		if err != nil {
			return // it refuses more than is needed to find the end; the engine will answer
		}
		content, err := io.ReadAll(req.Body)
		if err != nil {
			// Trailers and chunk extensions have more rules than framing needs.
			if h.chunked && !errors.Is(err, io.ErrUnexpectedEOF) {
				return
			}
			t.Fatalf("net/http cannot read the body: %v", err)
		}
		if at := len(p) - src.Len() - br.Buffered(); at != end {
			t.Fatalf("net/http ends the request at %d, the reader at %d", at, end)
		}
		if req.Method != h.method || req.RequestURI != h.target {
			t.Fatalf("%q %q, want %q %q", h.method, h.target, req.Method, req.RequestURI)
		}
		framing := h.body()
		if got := contentOf(p[size:end], framing); !bytes.Equal(got, content) {
			t.Fatalf("content %q, want %q", got, content)
		}
	})
}

func contentOf(raw []byte, framing body) []byte { return content(raw, framing, true) }

// FuzzResponseFollowing is the same for responses.
func FuzzResponseFollowing(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP",
		"HTTP/1.1 204 No Content\r\n\r\nHTTP", "HTTP/1.1 304\r\nContent-Length: 4\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nall",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, p []byte, head bool) {
		size := headEnd(p, 0)
		if size < 0 {
			return
		}
		h, err := parseResponse(p[:size])
		if err != nil || h.interim() || h.status == 101 {
			return
		}
		method := map[bool]string{true: "HEAD", false: "GET"}[head]
		b := h.body(method)
		n, done, err := b.follow(p[size:])
		if err != nil || !done {
			return
		}
		src := bytes.NewReader(p)
		br := bufio.NewReaderSize(src, 16)
		res, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			return
		}
		if _, err := io.ReadAll(res.Body); err != nil {
			if h.chunked && !errors.Is(err, io.ErrUnexpectedEOF) {
				return
			}
			t.Fatalf("net/http cannot read the body: %v", err)
		}
		if at := len(p) - src.Len() - br.Buffered(); at != size+n {
			t.Fatalf("net/http ends the response at %d, the reader at %d", at, size+n)
		}
	})
}

func TestChunkBounds(t *testing.T) {
	for name, in := range map[string]string{
		"size overflows":  "1000000000000000\r\n",
		"no size":         "\r\n",
		"bare line feed":  "3\nabc\r\n0\r\n\r\n",
		"no line end":     "3\r\nabcd\r\n",
		"endless ext":     "3;" + strings.Repeat("x", lineLimit),
		"endless trailer": "0\r\n" + strings.Repeat("a: b\r\n", headLimit/6+2),
		"sign":            "+3\r\nabc\r\n",
	} {
		b := body{kind: bodyChunked}
		_, _, err := b.follow([]byte(in))
		require.ErrorIs(t, err, errOpaque, name)
	}
}

func TestTemplate(t *testing.T) {
	for in, want := range map[string]string{
		"/v1.47/containers/json":                      "/containers/json",
		"/containers/my-name/start":                   "/containers/{}/start",
		"/v1.47/images/registry.example/a/b:tag/json": "/images/{}/json",
		"/_ping":                         "/_ping",
		"/":                              "/{}",
		"/v1.47/exec/0123/start?token=x": "/exec/{}/start",
		"http://docker/v1.47/volumes/secretive-volume":  "/volumes/{}",
		"/moby.buildkit.v1.Control/Solve":               "/{}",
		"/containers/a/archive?path=/home/user/private": "/containers/{}/archive",
	} {
		require.Equal(t, want, classify("GET", in).template(), in)
	}
}
