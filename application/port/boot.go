package port

import (
	"context"

	"arcbox/domain"
)

// BootAssets gives the lifecycle what it boots from.
type BootAssets interface {
	// Resolve returns the verified set; it downloads only what is missing.
	Resolve(ctx context.Context) (domain.BootAssets, error)
}
