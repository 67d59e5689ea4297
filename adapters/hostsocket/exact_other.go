//go:build !linux

package hostsocket

import (
	"context"
	"fmt"
	"path/filepath"

	"arcbox/application/port"
	"arcbox/domain"
)

// DialExact connects to the socket at an absolute path in which nothing is a
// link; else it is domain.ErrPermission. Otherwise it is like Dial. This system
// cannot connect to an open file, so a link that is made in just this moment is
// followed.
func (d Dialer) DialExact(ctx context.Context, path string) (port.Stream, error) {
	found, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, kindOf(err)
	}
	if found != path {
		return nil, fmt.Errorf("%s leads to %s: %w", path, found, domain.ErrPermission)
	}
	return d.Dial(ctx, path)
}
