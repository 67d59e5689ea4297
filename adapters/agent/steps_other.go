//go:build !linux

package agent

import (
	"context"
	"log/slog"
)

// followSteps has nobody to ask: a step is only looked for.
func followSteps(context.Context, *slog.Logger, func()) {}
