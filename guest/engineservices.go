//go:build linux

package guest

import (
	"context"
	"time"

	"arcbox/guest/engine"
	"arcbox/guest/supervisor"
)

// The limits of a start are for a slow, emulated machine with many containers
// to restore; a process that ends early is noticed at once.
const (
	containerdLimit = 3 * time.Minute
	dockerdLimit    = 10 * time.Minute
)

// EngineServices returns containerd and dockerd as the guest runs them. What
// dockerd says of itself when it is ready is handed to setEngine. Both start at
// once: dockerd is busy with itself for longer than containerd needs, and waits
// for it up to a minute.
func EngineServices(setEngine func(engine.Version)) []supervisor.Spec {
	return []supervisor.Spec{
		{
			Name:         engine.Containerd,
			Command:      engine.ContainerdCommand,
			Ready:        func(ctx context.Context) error { return engine.ContainerdReady(ctx, engine.ContainerdSocket) },
			ReadyTimeout: containerdLimit,
			StopTimeout:  5 * time.Second,
		},
		{
			Name:    engine.Dockerd,
			Command: engine.DockerdCommand,
			Ready: func(ctx context.Context) error {
				v, err := engine.DockerdReady(ctx, engine.DockerSocket)
				if err == nil {
					setEngine(v)
				}
				return err
			},
			ReadyTimeout: dockerdLimit,
			// It stops the containers, and gives each its own time to end.
			StopTimeout: time.Minute,
		},
	}
}
