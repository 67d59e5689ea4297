package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Version is what dockerd says of itself.
type Version struct {
	Engine string // version of dockerd
	API    string // its newest API version
}

// ContainerdReady makes one attempt to connect to containerd, which listens
// only when all of its plugins are up.
func ContainerdReady(ctx context.Context, socket string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("connect to containerd: %w", err)
	}
	return c.Close()
}

// DockerdReady asks dockerd once whether it serves, and for its version. That
// its socket accepts says nothing: it does so long before dockerd answers.
func DockerdReady(ctx context.Context, socket string) (Version, error) {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	defer client.CloseIdleConnections()
	if _, err := get(ctx, client, "/_ping"); err != nil {
		return Version{}, err
	}
	body, err := get(ctx, client, "/version")
	if err != nil {
		return Version{}, err
	}
	var v struct{ Version, ApiVersion string }
	if err := json.Unmarshal(body, &v); err != nil {
		return Version{}, fmt.Errorf("version of dockerd: %w", err)
	}
	if v.Version == "" || v.ApiVersion == "" {
		return Version{}, errors.New("version of dockerd: the answer has none")
	}
	return Version{Engine: v.Version, API: v.ApiVersion}, nil
}

func get(ctx context.Context, client *http.Client, path string) ([]byte, error) {
	answer, err := open(ctx, client, path)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	body, err := io.ReadAll(io.LimitReader(answer, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("ask dockerd for %s: %w", path, err)
	}
	return body, nil
}
