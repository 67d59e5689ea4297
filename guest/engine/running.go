package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// reconnect is the pause before dockerd is asked again after it was lost.
	reconnect = time.Second
	// listLimit is how long dockerd may take for the list; it is slow when an
	// emulated machine restores many containers.
	listLimit = time.Minute
	// headLimit is how long dockerd may take to answer at all. It is as long,
	// because a list is made before its head is sent.
	headLimit = listLimit
	// maxList bounds the list of running containers, bytes.
	maxList = 64 << 20
	// sinceSlack covers steps of the guest's clock, which the host sets.
	sinceSlack = time.Second
)

// Running is what the agent has to know of the containers that run.
type Running struct {
	Containers int
	// HostNetwork are the full ids of those that share the guest's network,
	// sorted.
	HostNetwork []string
}

// FollowRunning tells report which containers run, whenever that may have
// changed, until ctx ends. Nothing is told while dockerd does not answer: what
// was told last holds until there is a list again. It subscribes before it
// lists, so that no change falls between the two.
func FollowRunning(ctx context.Context, socket string, report func(Running)) {
	client := &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: headLimit, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		_ = followOnce(ctx, client, report) // dockerd starts, stops and crashes; the supervisor tells of that
		select {
		case <-ctx.Done():
		case <-time.After(reconnect):
		}
	}
}

// runningFilter selects the events that change which containers run.
const runningFilter = `{"type":["container"],"event":["start","die"]}`

func followOnce(ctx context.Context, client *http.Client, report func(Running)) error {
	begin, err := clock(ctx, client)
	if err != nil {
		return err
	}
	query := url.Values{"filters": {runningFilter}, "since": {strconv.FormatInt(begin.Add(-sinceSlack).Unix(), 10)}}
	events, err := open(ctx, client, "/events?"+query.Encode())
	if err != nil {
		return err
	}
	// Events are taken off dockerd at once, however long a list takes: it drops
	// those of a slow reader. What came meanwhile is one reason for one list.
	changed, ended := make(chan struct{}, 1), make(chan error, 1)
	var reader sync.WaitGroup
	reader.Go(func() { ended <- drain(events, changed) })
	defer reader.Wait()
	defer events.Close()
	for {
		n, err := running(ctx, client)
		if err != nil {
			return err
		}
		report(n)
		select {
		case <-changed:
		case err := <-ended:
			return err
		}
	}
}

// drain reads events to their end, and tells of news.
func drain(events io.Reader, changed chan<- struct{}) error {
	next := json.NewDecoder(events)
	for {
		var event struct{}
		if err := next.Decode(&event); err != nil {
			return fmt.Errorf("events of dockerd: %w", err)
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// clock returns dockerd's time, in whole seconds.
func clock(ctx context.Context, client *http.Client) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, headLimit)
	defer cancel()
	resp, err := ask(ctx, client, "/_ping")
	if err != nil {
		return time.Time{}, err
	}
	_ = resp.Body.Close()
	t, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return time.Time{}, fmt.Errorf("dockerd does not tell its time: %w", err)
	}
	return t, nil
}

func running(ctx context.Context, client *http.Client) (Running, error) {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	body, err := open(ctx, client, "/containers/json")
	if err != nil {
		return Running{}, err
	}
	defer body.Close()
	var list []listed
	if err := json.NewDecoder(io.LimitReader(body, maxList)).Decode(&list); err != nil {
		return Running{}, fmt.Errorf("list of containers: %w", err)
	}
	return Running{Containers: len(list), HostNetwork: hostNetwork(list)}, nil
}

// listed is a container in dockerd's list.
type listed struct {
	ID         string `json:"Id"`
	HostConfig struct{ NetworkMode string }
}

// hostNetwork returns the containers with the guest's network: their own choice,
// or that of a container whose network they joined.
func hostNetwork(list []listed) []string {
	var ids []string
	for _, c := range list {
		if c.HostConfig.NetworkMode == "host" {
			ids = append(ids, c.ID)
		}
	}
	direct := slices.Clone(ids)
	for _, c := range list {
		if of, ok := strings.CutPrefix(c.HostConfig.NetworkMode, "container:"); ok && slices.Contains(direct, of) {
			ids = append(ids, c.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// open sends a GET request and returns the body of its answer, which the
// caller closes.
func open(ctx context.Context, client *http.Client, path string) (io.ReadCloser, error) {
	resp, err := ask(ctx, client, path)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// ask sends a GET request. The caller closes the body of its answer.
func ask(ctx context.Context, client *http.Client, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask dockerd: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // for the error's text only
		_ = resp.Body.Close()
		return nil, fmt.Errorf("ask dockerd for %s: %s: %.200s", path, resp.Status, body)
	}
	return resp, nil
}
