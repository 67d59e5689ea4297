package lifecycle

import (
	"context"
	"errors"
	"fmt"
)

// undo is what has to be closed, the last opened first. It is used by one
// goroutine at a time.
type undo struct{ steps []undoStep }

type undoStep struct {
	what  string
	close func(context.Context) error
}

func (u *undo) add(what string, f func(context.Context) error) {
	u.steps = append(u.steps, undoStep{what, f})
}

// close runs every step, whether or not others fail. Steps that failed stay,
// in their order, for another try.
func (u *undo) close(ctx context.Context) error {
	var errs []error
	var kept []undoStep
	for i := len(u.steps) - 1; i >= 0; i-- {
		s := u.steps[i]
		if err := s.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("closing the %s: %w", s.what, err))
			kept = append([]undoStep{s}, kept...)
		}
	}
	u.steps = kept
	return errors.Join(errs...)
}
