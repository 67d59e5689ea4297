package port

import (
	"context"

	"arcbox/domain"
)

// ContainerWatcher follows the containers of engines.
type ContainerWatcher interface {
	// Watch calls f with every container that runs and then with what changes,
	// in order, until ctx ends, the engine's run is over, or f fails, and returns
	// why. When the engine restarts within its run, or events may have been
	// lost, it lists again. The engine is not kept awake.
	Watch(ctx context.Context, e Engine, f func(domain.ContainerChange) error) error
}

// Starts is told of API requests that start containers, which is how the
// daemon knows whether somebody waits for a published port (a driving port,
// implemented by application/containers).
type Starts interface {
	// Starting says that a client waits until the container, named as the client
	// did (name, id, or prefix of one; "" when the request does not say), has
	// its ports. The caller calls done when the answer is there.
	Starting(role domain.Role, container string) (done func())
}
