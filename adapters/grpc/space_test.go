package grpc

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	arcboxv1 "arcbox/api/arcbox/v1"
	"arcbox/domain"
)

type pruneFunc func(context.Context, domain.PruneOptions) (domain.PruneResult, error)

func (f pruneFunc) Prune(ctx context.Context, o domain.PruneOptions) (domain.PruneResult, error) {
	return f(ctx, o)
}

func TestPruneTellsWhatWentAndWhyItDidNot(t *testing.T) {
	f := serve(t)
	f.prune = func(_ context.Context, o domain.PruneOptions) (domain.PruneResult, error) {
		if !o.All {
			return domain.PruneResult{}, fmt.Errorf("the engine: %w", domain.ErrUnavailable)
		}
		require.True(t, o.Volumes)
		return domain.PruneResult{Images: []string{"web:latest"}, Reclaimed: 7, Host: 5}, nil
	}
	r, err := f.client.Prune(t.Context(), &arcboxv1.PruneRequest{All: true, Volumes: true})
	require.NoError(t, err)
	require.Equal(t, []string{"web:latest"}, r.Images)
	require.EqualValues(t, 7, r.ReclaimedBytes)
	require.EqualValues(t, 5, r.HostBytes)
	_, err = f.client.Prune(t.Context(), &arcboxv1.PruneRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
}

func TestInfoTellsOfTheDataDisk(t *testing.T) {
	require.Nil(t, vmInfo(domain.RoleNative, domain.VMStatus{}).Disk)
	in := vmInfo(domain.RoleNative, domain.VMStatus{Paused: "the host's disk is full", Image: domain.DiskImage{Size: 64 << 30, Allocated: 1 << 30, Wanted: 32},
		Guest: domain.GuestStatus{Disk: domain.DiskUsage{Total: 63 << 30, Free: 1}}})
	require.Equal(t, "the host's disk is full", in.Paused)
	require.EqualValues(t, 1<<30, in.Disk.AllocatedBytes)
	require.Len(t, in.Disk.Problems, 2, "nearly full, and larger than configured")
}
