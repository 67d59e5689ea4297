package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"arcbox/application/port"
	"arcbox/domain"
)

// pruneLimit bounds one answer of an engine that removes things.
const pruneLimit = 32 << 20

// Pruner implements port.Pruner over the engines' own API.
type Pruner struct{}

var _ port.Pruner = Pruner{}

// pruneAnswer is any answer of the engine's /…/prune.
type pruneAnswer struct {
	ContainersDeleted []string
	NetworksDeleted   []string
	VolumesDeleted    []string
	CachesDeleted     []string
	ImagesDeleted     []struct{ Untagged, Deleted string }
	SpaceReclaimed    uint64
}

// Prune implements port.Pruner. It asks in the order of docker system prune, in
// which what one step removes makes room for the next; the time that it takes is the
// caller's to bound. An engine's own message is in the error.
func (Pruner) Prune(ctx context.Context, e port.Engine, o domain.PruneOptions) (r domain.PruneResult, err error) {
	// No limit for the answer's head: it comes when all is removed.
	transport := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx) },
		DisableCompression: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	dangling, all := url.Values{"filters": {`{"dangling":["true"]}`}}, url.Values{}
	if o.All {
		dangling, all = url.Values{"filters": {`{"dangling":["false"]}`}}, url.Values{"all": {"true"}}
	}
	for _, step := range []struct {
		path  string
		query url.Values
		skip  bool
	}{
		{"/containers/prune", nil, false},
		{"/networks/prune", nil, false},
		{"/volumes/prune", nil, !o.Volumes},
		{"/images/prune", dangling, false},
		{"/build/prune", all, false},
	} {
		if step.skip {
			continue
		}
		a, err := pruneStep(ctx, client, step.path, step.query)
		if err != nil {
			return r, err
		}
		r.Containers = append(r.Containers, a.ContainersDeleted...)
		r.Networks = append(r.Networks, a.NetworksDeleted...)
		r.Volumes = append(r.Volumes, a.VolumesDeleted...)
		r.BuildCache = append(r.BuildCache, a.CachesDeleted...)
		for _, i := range a.ImagesDeleted {
			if i.Untagged != "" {
				r.Images = append(r.Images, i.Untagged)
			} else if i.Deleted != "" {
				r.Images = append(r.Images, i.Deleted)
			}
		}
		r.Reclaimed += min(a.SpaceReclaimed, 1<<60)
	}
	return r, nil
}

func pruneStep(ctx context.Context, client *http.Client, path string, query url.Values) (a pruneAnswer, err error) {
	target := url.URL{Scheme: "http", Host: "engine", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), nil)
	if err != nil {
		return a, fmt.Errorf("ask the Docker engine for %s: %w: %w", path, err, domain.ErrInvalid)
	}
	resp, err := client.Do(req)
	if err != nil {
		return a, fmt.Errorf("ask the Docker engine for %s: %w: %w", path, kindOfEnd(ctx), err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(io.LimitReader(resp.Body, pruneLimit+1))
	switch {
	case err != nil:
		return a, fmt.Errorf("read the Docker engine's answer to %s: %w: %w", path, kindOfEnd(ctx), err)
	case len(p) > pruneLimit:
		return a, fmt.Errorf("the Docker engine's answer to %s has more than %d bytes: %w", path, pruneLimit, domain.ErrInvalid)
	case resp.StatusCode != http.StatusOK:
		return a, fmt.Errorf("ask the Docker engine for %s: status %d: %q: %w", path, resp.StatusCode, engineMessage(p), domain.ErrUnavailable)
	}
	if err := json.Unmarshal(p, &a); err != nil {
		return a, fmt.Errorf("the Docker engine's answer to %s: %w: %w", path, domain.ErrInvalid, err)
	}
	return a, nil
}

// kindOfEnd tells an engine that is not there from a caller who did not wait.
func kindOfEnd(ctx context.Context) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return domain.ErrTimeout
	case ctx.Err() != nil:
		return domain.ErrCanceled
	}
	return domain.ErrUnavailable
}

// engineMessage is what an engine's error says; the guest is not trusted, so it
// is short.
func engineMessage(body []byte) string {
	var m struct{ Message string }
	if json.Unmarshal(body, &m) != nil || m.Message == "" {
		m.Message = string(bytes.TrimSpace(body))
	}
	return m.Message[:min(len(m.Message), 512)]
}
