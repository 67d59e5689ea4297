package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"arcbox/application/port"
	"arcbox/domain"
)

// Bounds on what an engine may answer: the guest is not trusted.
const (
	listLimit    = 32 << 20
	inspectLimit = 4 << 20
	eventLimit   = 1 << 20 // one event; it carries all labels
	queueLimit   = 1 << 16 // events that wait
)

// Deadlines of answers. An inspect waits for as long as its container is being
// started.
const (
	headTimeout    = 20 * time.Second
	listTimeout    = 30 * time.Second
	inspectTimeout = 10 * time.Second
)

// engineClient asks one engine.
type engineClient struct {
	http      http.Client
	transport *http.Transport
}

func newEngineClient(e port.Engine) *engineClient {
	t := &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx) },
		ResponseHeaderTimeout: headTimeout,
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       10 * time.Second,
		DisableCompression:    true,
	}
	return &engineClient{http: http.Client{Transport: t}, transport: t}
}

func (c *engineClient) close() { c.transport.CloseIdleConnections() }

// do sends a GET and returns an answer whose status is 200. The caller closes
// its body.
func (c *engineClient) do(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	target := url.URL{Scheme: "http", Host: "engine", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask the Docker engine for %s: %w: %w", path, err, domain.ErrInvalid)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the Docker engine for %s: %w: %w", path, domain.ErrUnavailable, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	_ = resp.Body.Close()
	kind := domain.ErrUnavailable
	if resp.StatusCode == http.StatusNotFound {
		kind = domain.ErrNotFound
	}
	return nil, fmt.Errorf("ask the Docker engine for %s: status %d: %w", path, resp.StatusCode, kind)
}

// get decodes an answer of at most limit bytes into v.
func (c *engineClient) get(ctx context.Context, timeout time.Duration, path string, query url.Values, limit int64, v any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := c.do(ctx, path, query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return fmt.Errorf("read the Docker engine's answer to %s: %w: %w", path, domain.ErrUnavailable, err)
	}
	if int64(len(p)) > limit {
		return fmt.Errorf("the Docker engine's answer to %s has more than %d bytes: %w", path, limit, domain.ErrInvalid)
	}
	if err := json.Unmarshal(p, v); err != nil {
		return fmt.Errorf("the Docker engine's answer to %s: %w: %w", path, domain.ErrInvalid, err)
	}
	return nil
}

// clock returns the engine's time, in whole seconds.
func (c *engineClient) clock(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	resp, err := c.do(ctx, "/_ping", nil)
	if err != nil {
		return time.Time{}, err
	}
	_ = resp.Body.Close()
	t, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return time.Time{}, fmt.Errorf("the Docker engine does not tell its time: %w: %w", domain.ErrInvalid, err)
	}
	return t, nil
}

// sinceSlack covers steps of the guest's clock, which the host sets. An event
// that comes twice does no harm.
const sinceSlack = time.Second

// eventFilters chooses the events that change names, addresses and networks.
const eventFilters = `{"type":["container","network"],"event":["create","start","die","destroy","rename","connect","disconnect"]}`

// events opens the stream of events. The caller closes it; it ends with ctx.
func (c *engineClient) events(ctx context.Context, since time.Time) (io.ReadCloser, error) {
	resp, err := c.do(ctx, "/events", url.Values{"filters": {eventFilters}, "since": {strconv.FormatInt(since.Add(-sinceSlack).Unix(), 10)}})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// event is what is kept of one.
type event struct {
	kind, action string
	container    string // full id, "" for an event of a network alone
}

// parseEvent reads one; ok is false for one that says nothing of containers or
// networks.
func parseEvent(line []byte) (e event, ok bool, err error) {
	var raw struct {
		Type   string
		Action string
		Actor  struct {
			ID         string
			Attributes map[string]string
		}
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return event{}, false, fmt.Errorf("an event of the Docker engine: %w: %w", domain.ErrInvalid, err)
	}
	e = event{kind: raw.Type, action: raw.Action}
	switch {
	case e.kind == "container":
		e.container = raw.Actor.ID
	case e.kind != "network":
		return e, false, nil
	case e.action == "connect" || e.action == "disconnect":
		e.container = raw.Actor.Attributes["container"]
	default:
		return e, true, nil
	}
	return e, domain.IsContainerID(e.container), nil
}

// eventQueue takes events off the engine at once: an engine drops the events of
// a slow reader without a word.
type eventQueue struct {
	mu     sync.Mutex
	events []event
	err    error // why there are no more
	ready  chan struct{}
}

func newEventQueue() *eventQueue { return &eventQueue{ready: make(chan struct{}, 1)} }

// fill reads the stream to its end.
func (q *eventQueue) fill(stream io.Reader) {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, eventLimit)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		e, ok, err := parseEvent(lines.Bytes())
		if err != nil {
			q.put(event{}, err)
			return
		}
		if ok && !q.put(e, nil) {
			return
		}
	}
	err := lines.Err()
	if err == nil {
		err = io.EOF
	}
	q.put(event{}, fmt.Errorf("the Docker engine's events ended: %w: %w", domain.ErrUnavailable, err))
}

// put reports whether there is room for more.
func (q *eventQueue) put(e event, end error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if end == nil && len(q.events) == queueLimit {
		end = errors.New("more events of the Docker engine than can be kept")
	}
	if end != nil {
		q.err = end
	} else {
		q.events = append(q.events, e)
	}
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return end == nil
}

// take returns what came, and why nothing more will.
func (q *eventQueue) take() ([]event, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	q.events = nil
	return events, q.err
}
