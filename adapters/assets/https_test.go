package assets_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"arcbox/adapters/assets"
	"arcbox/domain"
)

func serve(t *testing.T, h http.HandlerFunc) string {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestServerAnswersInTheEnd(t *testing.T) {
	var n atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("User-Agent") != "arcbox-asset/1" || r.Header.Get("Accept-Encoding") != "identity" {
			http.Error(w, "wrong headers", http.StatusTeapot)
			return
		}
		switch n.Add(1) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			panic(http.ErrAbortHandler) // the connection breaks
		case 3:
			w.WriteHeader(http.StatusBadGateway)
		default:
			io.WriteString(w, "at last")
		}
	})
	data, _, _, _ := fetch(t, newSource(t, url), "x", 0, "")
	require.Equal(t, "at last", data)
	require.EqualValues(t, 4, n.Load())
}

func TestServerNeverAnswers(t *testing.T) {
	for status, c := range map[int]struct {
		kind  error
		tries int32
	}{
		http.StatusNotFound: {domain.ErrNotFound, 1}, http.StatusForbidden: {domain.ErrPermission, 1},
		http.StatusBadRequest: {domain.ErrUnavailable, 1}, http.StatusNoContent: {domain.ErrUnavailable, 1},
		http.StatusInternalServerError: {domain.ErrUnavailable, 5}, http.StatusTooManyRequests: {domain.ErrUnavailable, 5},
	} {
		var n atomic.Int32
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			n.Add(1)
			w.WriteHeader(status)
		})
		_, _, _, _, err := newSource(t, url).Fetch(t.Context(), "x", 0, "")
		require.ErrorIs(t, err, c.kind, status)
		require.ErrorContains(t, err, "fetching x from "+url)
		require.Equal(t, c.tries, n.Load(), status)
	}
	srv := httptest.NewServer(nil)
	srv.Close()
	_, _, _, _, err := newSource(t, srv.URL).Fetch(t.Context(), "x", 0, "")
	require.ErrorIs(t, err, domain.ErrUnavailable)
}

func TestServerIsBusy(t *testing.T) {
	var n atomic.Int32
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, _, _, _, err := newSource(t, url).Fetch(ctx, "x", 0, "")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.EqualValues(t, 1, n.Load(), "the server's wish is respected")
}

func TestRanges(t *testing.T) {
	const content = "0123456789"
	tag := func(w http.ResponseWriter) { w.Header().Set("ETag", `"v1"`) }
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		at     int64
		tag    string
	}{
		"good": {func(w http.ResponseWriter, r *http.Request) {
			tag(w)
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
		}, 4, `"v1"`},
		"changed": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v2"`)
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
		}, 0, `"v2"`},
		"ranges unknown": {func(w http.ResponseWriter, _ *http.Request) { tag(w); io.WriteString(w, content) }, 0, `"v1"`},
		"416": {func(w http.ResponseWriter, r *http.Request) {
			tag(w)
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			io.WriteString(w, content)
		}, 0, `"v1"`},
		"If-Range ignored": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v2"`)
			r.Header.Del("If-Range")
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
		}, 0, `"v2"`},
		"another range": {func(w http.ResponseWriter, r *http.Request) {
			tag(w)
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", "bytes 2-9/10")
				w.WriteHeader(http.StatusPartialContent)
				io.WriteString(w, content[2:])
				return
			}
			io.WriteString(w, content)
		}, 0, `"v1"`},
		"nonsense range": {func(w http.ResponseWriter, r *http.Request) {
			tag(w)
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", "lines 4-9")
				w.WriteHeader(http.StatusPartialContent)
				return
			}
			io.WriteString(w, content)
		}, 0, `"v1"`},
		"weak tag": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `W/"v1"`)
			w.Header().Set("Last-Modified", "Tue, 24 Nov 2026 08:00:00 GMT")
			io.WriteString(w, content)
		}, 0, "Tue, 24 Nov 2026 08:00:00 GMT"},
	} {
		t.Run(name, func(t *testing.T) {
			data, at, size, tag := fetch(t, newSource(t, serve(t, c.answer)), "x", 4, `"v1"`)
			require.Equal(t, c.at, at)
			require.Equal(t, content[c.at:], data)
			require.EqualValues(t, 10, size)
			require.Equal(t, c.tag, tag)
		})
	}
}

func TestServerStalls(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "some")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	body, _, _, _, err := newSource(t, url).Fetch(t.Context(), "x", 0, "")
	require.NoError(t, err)
	defer body.Close()
	data, err := io.ReadAll(body)
	require.Equal(t, "some", string(data))
	require.ErrorIs(t, err, domain.ErrTimeout)
	require.ErrorContains(t, err, "nothing arrived for 300ms")
}

func TestUntrustedServer(t *testing.T) {
	var n atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.Add(1) }))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	s, err := assets.NewSource(srv.URL, assets.SourceOptions{Log: quiet()})
	require.NoError(t, err)
	_, _, _, _, err = s.Fetch(t.Context(), "x", 0, "")
	require.ErrorIs(t, err, domain.ErrUnavailable)
	require.ErrorContains(t, err, "certificate")
	require.Zero(t, n.Load())
}

func TestSecretsStayOut(t *testing.T) {
	srv := httptest.NewServer(nil)
	srv.Close()
	s := newSource(t, strings.Replace(srv.URL, "http://", "http://user:secret@", 1))
	_, _, _, _, err := s.Fetch(t.Context(), "x", 0, "")
	require.ErrorIs(t, err, domain.ErrUnavailable)
	require.NotContains(t, err.Error(), "secret")
}

func TestRedirects(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "moved here") })
	data, _, _, _ := fetch(t, newSource(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain+"/y", http.StatusFound)
	})), "x", 0, "")
	require.Equal(t, "moved here", data)

	var n atomic.Int32
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		http.Redirect(w, r, plain+"/y", http.StatusFound)
	}))
	t.Cleanup(secure.Close)
	s, err := assets.NewSource(secure.URL, assets.SourceOptions{Client: secure.Client(), RetryDelay: time.Millisecond})
	require.NoError(t, err)
	_, _, _, _, err = s.Fetch(t.Context(), "x", 0, "")
	require.ErrorIs(t, err, domain.ErrInvalid)
	require.ErrorContains(t, err, "redirected from https to http")
	require.EqualValues(t, 1, n.Load(), "trying again would not help")

	loop := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusFound) })
	_, _, _, _, err = newSource(t, loop).Fetch(t.Context(), "x", 0, "")
	require.ErrorContains(t, err, "stopped after 10 redirects")
}
