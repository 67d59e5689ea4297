package port

import (
	"context"

	"arcbox/domain"
)

// HostConfig knows what of the host matters to a guest.
type HostConfig interface {
	// GuestConfig reads it anew. What cannot be read is left out and logged, but
	// for the shares.
	GuestConfig(ctx context.Context) (domain.GuestConfig, error)
}
