//go:build !linux

package netfwd

import (
	"fmt"
	"net"
	"os"

	"arcbox/domain"
)

func cardSocket() (*net.UnixListener, *os.File, error) {
	return nil, nil, fmt.Errorf("a network card over vhost-user: %w", domain.ErrUnsupported)
}
