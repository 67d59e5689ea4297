package docker

import (
	"context"
	"errors"
	"sync"

	"arcbox/domain"
)

// sync tells everything that runs.
func (t *tracker) sync(ctx context.Context) error {
	networks, err := t.client.networks(ctx)
	if err != nil {
		return err
	}
	present, err := t.client.list(ctx)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	gone := make([]bool, len(present))
	slots := make(chan struct{}, maxInspects)
	for i := range present {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			f, err := t.client.inspect(ctx, present[i].ID)
			switch {
			case err == nil:
				present[i] = f
			case errors.Is(err, domain.ErrNotFound):
				gone[i] = true
			default:
				// The list tells enough to reach it.
				t.log.Debug("inspect a container", "id", present[i].ID, "error", err)
			}
		})
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	change := domain.ContainerChange{Full: true, Networks: networks}
	for i, f := range present {
		if !gone[i] {
			t.records[f.ID] = &record{facts: f, told: true}
			change.Present = append(change.Present, f)
		}
	}
	return t.tell(change)
}
