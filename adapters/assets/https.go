package assets

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"arcbox/application/port"
	"arcbox/domain"
)

const (
	defaultUserAgent    = "arcbox-asset/1"
	defaultRetryDelay   = 500 * time.Millisecond
	maxRetryDelay       = 10 * time.Second
	maxRetryAfter       = 30 // seconds, whatever a server asks for
	requestTries        = 5
	defaultStallTimeout = 30 * time.Second
)

// httpSource is an asset set on a server.
type httpSource struct {
	base   *url.URL // ends in a slash
	agent  string
	client *http.Client
	delay  time.Duration
	stall  time.Duration
	log    *slog.Logger
}

func newHTTPSource(u *url.URL, opts SourceOptions) (port.AssetSource, error) {
	if u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("asset source %s must be a server and a path, without query: %w", u.Redacted(), domain.ErrInvalid)
	}
	base := *u
	base.RawPath = ""
	base.Path = strings.TrimSuffix(base.Path, "/"+domain.ManifestFile)
	base.Path = strings.TrimSuffix(base.Path, "/") + "/"
	h := &httpSource{
		base: &base, agent: opts.UserAgent,
		delay: opts.RetryDelay, stall: opts.StallTimeout, log: opts.Log,
	}
	if h.agent == "" {
		h.agent = defaultUserAgent
	}
	if h.delay == 0 {
		h.delay = defaultRetryDelay
	}
	if h.stall == 0 {
		h.stall = defaultStallTimeout
	}
	client := opts.Client
	if client == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = defaultStallTimeout
		client = &http.Client{Transport: t}
	}
	checked := *client // the caller's own is not changed
	checked.CheckRedirect = checkRedirect
	h.client = &checked
	return h, nil
}

// checkRedirect keeps a secure transfer secure: an unpinned manifest has
// nothing but TLS to be trusted by.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return fmt.Errorf("stopped after 10 redirects: %w", domain.ErrUnavailable)
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return backoff.Permanent(fmt.Errorf("redirected from https to %s: %w", req.URL.Scheme, domain.ErrInvalid))
	}
	return nil
}

func (h *httpSource) Describe() string { return h.base.Redacted() }

func (h *httpSource) Fetch(ctx context.Context, path string, offset int64, validator string) (io.ReadCloser, int64, int64, string, error) {
	fail := func(err error) (io.ReadCloser, int64, int64, string, error) {
		return nil, 0, 0, "", fmt.Errorf("fetching %s from %s: %w", path, h.Describe(), err)
	}
	if err := domain.CheckAssetPath(path); err != nil {
		return fail(err)
	}
	ref, err := url.Parse(path)
	if err != nil {
		return fail(fmt.Errorf("%w: %w", domain.ErrInvalid, err))
	}
	u := h.base.ResolveReference(ref)
	if validator == "" {
		offset = 0 // without it a changed file could not be told
	}
	resp, err := h.get(ctx, u, offset, validator)
	if err != nil {
		return fail(err)
	}
	if offset > 0 && resp.StatusCode != http.StatusOK {
		if start, size, ok := contentRange(resp); ok && start == offset && sameVersion(resp, validator) {
			return resp.Body, offset, size, validator, nil
		}
		// 416, or a server that has its own idea of ranges: all of it, then.
		resp.Body.Close()
		if resp, err = h.get(ctx, u, 0, ""); err != nil {
			return fail(err)
		}
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return fail(fmt.Errorf("unexpected status %s: %w", resp.Status, domain.ErrUnavailable))
	}
	return resp.Body, 0, resp.ContentLength, validatorOf(resp), nil
}

// get sends the request until there is an answer that repeating would not
// change: 200, 206, 416 or an error.
func (h *httpSource) get(ctx context.Context, u *url.URL, offset int64, validator string) (*http.Response, error) {
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval, delays.MaxInterval = h.delay, maxRetryDelay
	resp, err := backoff.Retry(ctx, func() (*http.Response, error) { return h.try(ctx, u, offset, validator) },
		backoff.WithBackOff(delays), backoff.WithMaxTries(requestTries), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, d time.Duration) {
			h.log.Info("asset request failed, trying again", "url", u.Redacted(), "error", err, "delay", d)
		}))
	if err == nil {
		return resp, nil
	}
	var after *backoff.RetryAfterError
	if errors.As(err, &after) {
		err = fmt.Errorf("the server is busy: %w", domain.ErrUnavailable)
	}
	return nil, err
}

func (h *httpSource) try(ctx context.Context, u *url.URL, offset int64, validator string) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, backoff.Permanent(err)
	}
	req.Header.Set("User-Agent", h.agent)
	// Ranges and checksums are about the file, not about a compressed form of it.
	req.Header.Set("Accept-Encoding", "identity")
	if offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
		req.Header.Set("If-Range", validator)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		cancel(nil)
		return nil, requestError(err)
	}
	switch s := resp.StatusCode; {
	case s == http.StatusOK, s == http.StatusPartialContent, s == http.StatusRequestedRangeNotSatisfiable:
		resp.Body = newStallReader(resp.Body, h.stall, cancel)
		return resp, nil
	}
	err = statusError(resp)
	resp.Body.Close()
	cancel(nil)
	return nil, err
}

// requestError drops the URL that net/http puts into its errors: it is in the
// message already, and may hold what nobody should read.
func requestError(err error) error {
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		return permanent
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	out := fmt.Errorf("%w: %w", domain.ErrUnavailable, err)
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return backoff.Permanent(out)
	}
	return out
}

func statusError(resp *http.Response) error {
	kind := domain.ErrUnavailable
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		kind = domain.ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		kind = domain.ErrPermission
	}
	err := fmt.Errorf("the server answered %s: %w", resp.Status, kind)
	switch s := resp.StatusCode; {
	case s == http.StatusTooManyRequests, s == http.StatusServiceUnavailable:
		if n, perr := strconv.Atoi(resp.Header.Get("Retry-After")); perr == nil && n > 0 {
			return backoff.RetryAfter(min(n, maxRetryAfter))
		}
		return err
	case s >= 500, s == http.StatusRequestTimeout:
		return err
	}
	return backoff.Permanent(err)
}

// contentRange reads "bytes 100-199/200"; size is -1 when it is not told.
func contentRange(resp *http.Response) (start, size int64, ok bool) {
	if resp.StatusCode != http.StatusPartialContent {
		return 0, 0, false
	}
	spec, found := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes ")
	span, total, found2 := strings.Cut(spec, "/")
	first, _, found3 := strings.Cut(span, "-")
	start, err := strconv.ParseInt(first, 10, 64)
	if !found || !found2 || !found3 || err != nil {
		return 0, 0, false
	}
	if total == "*" {
		return start, -1, true
	}
	size, err = strconv.ParseInt(total, 10, 64)
	return start, size, err == nil && size >= start
}

// validatorOf returns what If-Range may carry: a strong entity tag, else the
// date of the last change. A weak tag would be refused.
func validatorOf(resp *http.Response) string {
	if tag := resp.Header.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return resp.Header.Get("Last-Modified")
}

// sameVersion catches servers that answer a range without looking at If-Range.
func sameVersion(resp *http.Response, validator string) bool {
	v := validatorOf(resp)
	return v == "" || v == validator
}
