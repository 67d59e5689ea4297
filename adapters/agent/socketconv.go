package agent

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/domain"
)

// maxSocketPath is the kernel's limit, bytes.
const maxSocketPath = 4096

// socketConnection is a client that waits in the guest. Exactly one of service
// and path is not empty.
type socketConnection struct {
	id            string
	service, path string
}

// toSocketConnection takes over what the guest says. An error with an id is
// about this connection only; without, the stream makes no sense.
func toSocketConnection(m *agentv1.SocketsResponse) (socketConnection, error) {
	if !leaseID.MatchString(m.GetConnection()) {
		return socketConnection{}, fmt.Errorf("the guest agent named a connection %.40q: %w", m.GetConnection(), domain.ErrProtocol)
	}
	c := socketConnection{id: m.GetConnection()}
	switch to := m.GetTo().(type) {
	case *agentv1.SocketsResponse_Service:
		if !serviceName.MatchString(to.Service) {
			return c, fmt.Errorf("the host has no service %.40q: %w", to.Service, domain.ErrInvalid)
		}
		c.service = to.Service
	case *agentv1.SocketsResponse_HostPath:
		if err := checkSocketPath(to.HostPath); err != nil {
			return c, fmt.Errorf("%w: %w", err, domain.ErrInvalid)
		}
		c.path = to.HostPath
	default:
		return c, fmt.Errorf("this host does not know where the connection is to lead: %w", domain.ErrUnsupported)
	}
	return c, nil
}

var errSocketPath = errors.New("not a path of a socket")

// checkSocketPath takes a path of a file, absolute and without detours.
func checkSocketPath(p string) error {
	if len(p) >= maxSocketPath || !path.IsAbs(p) || path.Clean(p) != p || p == "/" || strings.ContainsRune(p, 0) || !utf8.ValidString(p) {
		return fmt.Errorf("%.100q: %w", p, errSocketPath)
	}
	return nil
}

// offerKind adds the domain's kind to the answer to an offer.
func offerKind(err error) error {
	switch status.Code(err) {
	case codes.FailedPrecondition:
		return fmt.Errorf("%w: %w", err, domain.ErrInvalidState)
	case codes.ResourceExhausted:
		return fmt.Errorf("%w: %w", err, domain.ErrConflict)
	}
	return kindOf(err)
}
