package system_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"arcbox/application/port"
	"arcbox/application/system"
	"arcbox/domain"
)

// space is the host's and the engine's side of a prune.
type space struct {
	allocated []uint64 // one for each look; the last stays
	result    domain.PruneResult
	err       error
	asked     []domain.PruneOptions
}

func (s *space) Image(path string) (domain.DiskImage, error) {
	if path != "docker.img" {
		return domain.DiskImage{}, errors.New("another disk")
	}
	now := s.allocated[0]
	if len(s.allocated) > 1 {
		s.allocated = s.allocated[1:]
	}
	return domain.DiskImage{Size: 64 << 30, Allocated: now}, nil
}

func (s *space) Prune(_ context.Context, _ port.Engine, o domain.PruneOptions) (domain.PruneResult, error) {
	s.asked = append(s.asked, o)
	return s.result, s.err
}

func (*space) RemoveOld(context.Context) ([]string, uint64, error) {
	return []string{"boot/0.9/kernel"}, 10, nil
}

func TestPrune(t *testing.T) {
	inWorld(t, system.BootEager, func(t *testing.T, w *world) {
		require.NoError(t, w.system.Init(t.Context()))
		w.space.allocated = []uint64{100, 30}
		w.space.result = domain.PruneResult{Images: []string{"web:1"}, Reclaimed: 60}
		r, err := w.system.Prune(t.Context(), domain.PruneOptions{All: true})
		require.NoError(t, err)
		require.Equal(t, domain.PruneResult{Images: []string{"web:1"}, BootFiles: []string{"boot/0.9/kernel"}, Reclaimed: 70, Host: 70}, r)
		require.Equal(t, []domain.PruneOptions{{All: true}}, w.space.asked)
		require.Equal(t, domain.DiskImage{Size: 64 << 30, Allocated: 30, Wanted: 32}, w.system.VM(domain.RoleNative).Image)
		require.Contains(t, w.system.VM(domain.RoleNative).DiskProblems()[0], "never made smaller")

		w.space.err = domain.ErrUnavailable
		w.space.result = domain.PruneResult{Containers: []string{"c1"}}
		r, err = w.system.Prune(t.Context(), domain.PruneOptions{})
		require.ErrorIs(t, err, domain.ErrUnavailable)
		require.Equal(t, []string{"c1"}, r.Containers)
		require.NotEmpty(t, r.BootFiles, "the host's part is done all the same")

		w.engine = func(context.Context) error { return domain.ErrTimeout }
		_, err = w.system.Prune(t.Context(), domain.PruneOptions{})
		require.ErrorIs(t, err, domain.ErrTimeout)
		require.Len(t, w.space.asked, 2, "there is no engine to ask")
	})
}
