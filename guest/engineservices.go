//go:build linux

package guest

import (
	"context"
	"os/exec"
	"time"

	"arcbox/domain"
	"arcbox/guest/engine"
	"arcbox/guest/supervisor"
)

// The limits of a start are for a slow, emulated machine with many containers
// to restore; a process that ends early is noticed at once.
const (
	containerdLimit = 3 * time.Minute
	dockerdLimit    = 10 * time.Minute
)

// hostPatience is how long the host may take to configure a guest that it has
// booted, before the log says so; it does so right after its hello.
const hostPatience = 30 * time.Second

// HostConfig is what the engine needs to know of the host.
type HostConfig interface {
	// First is closed when the host has said everything once.
	First() <-chan struct{}
	// Proxy returns what it said last.
	Proxy() domain.Proxy
}

// EngineServices returns containerd and dockerd as the guest runs them. What
// dockerd says of itself when it is ready is handed to setEngine. Neither waits
// for the other: dockerd is busy with itself for longer than containerd needs,
// and waits for it up to a minute. But dockerd waits for the host: it starts
// containers again, which need their shares.
func EngineServices(host HostConfig, setEngine func(engine.Version)) []supervisor.Spec {
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
			Hold:    &supervisor.Hold{Over: host.First(), What: "the host's configuration", Patience: hostPatience},
			Command: func() *exec.Cmd { return engine.DockerdCommand(host.Proxy()) },
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
