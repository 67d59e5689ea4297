//go:build linux

package tunnel

import (
	"context"
	"fmt"
	"net"
	"time"
)

// retry is the pause between two attempts to connect to a service that is
// about to come back.
const retry = 25 * time.Millisecond

// ToUnix returns an Open that connects to a Unix socket. While nobody listens
// there it tries again for up to wait: the service may be restarting.
func ToUnix(path string, wait time.Duration) func(context.Context, Conn) (Conn, error) {
	return func(ctx context.Context, client Conn) (Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		var d net.Dialer
		for {
			c, err := d.DialContext(ctx, "unix", path)
			if err == nil {
				return c.(*net.UnixConn), nil
			}
			if !absent(err) || gone(client) {
				return nil, err
			}
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("nobody listens on %s for %s: %w", path, wait, err)
			case <-time.After(retry):
			}
		}
	}
}
