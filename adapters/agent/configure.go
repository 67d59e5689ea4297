package agent

import (
	"context"
	"fmt"

	agentv1 "arcbox/api/arcbox/agent/v1"
	"arcbox/application/port"
	"arcbox/domain"
)

var _ port.Toucher = (*session)(nil)

// Configure implements port.AgentSession.
func (s *session) Configure(ctx context.Context, c domain.GuestConfig) error {
	req := &agentv1.ConfigureRequest{
		Proxy:        &agentv1.Proxy{Http: c.Proxy.HTTP, Https: c.Proxy.HTTPS, None: c.Proxy.None},
		Certificates: c.Certificates,
		TimeZone:     c.TimeZone,
	}
	for _, share := range c.Shares {
		req.Shares = append(req.Shares, &agentv1.Share{Path: share.Path, ReadOnly: share.ReadOnly})
	}
	for _, socket := range c.Sockets {
		req.Sockets = append(req.Sockets, &agentv1.GuestSocket{Service: socket.Service, Path: socket.Path})
	}
	if _, err := s.client.Configure(ctx, req); err != nil {
		return fmt.Errorf("tell the guest of the host: %w", kindOf(err))
	}
	return nil
}

// Touch implements port.Toucher.
func (s *session) Touch(ctx context.Context, changes []domain.PathChange) error {
	req := &agentv1.TouchRequest{}
	for _, c := range changes {
		req.Changes = append(req.Changes, &agentv1.PathChange{Path: c.Path, Removed: c.Removed})
	}
	if _, err := s.client.Touch(ctx, req); err != nil {
		return fmt.Errorf("tell the guest of changed files: %w", kindOf(err))
	}
	return nil
}
