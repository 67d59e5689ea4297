// Package engine knows how containerd and dockerd are run in the guest: their
// configuration, their commands, and how to find out whether they serve.
package engine

// Where things are in the guest.
const (
	BinDir           = "/arcbox/runtime/bin" // on the runtime disk
	ContainerdSocket = "/run/containerd/containerd.sock"
	DockerSocket     = "/run/docker.sock"

	// PublishSocket is where the agent takes the requests of the userland proxy.
	PublishSocket = "/run/arcbox/publish.sock"

	// proxy is the program that dockerd starts for each published port.
	proxy = "arcbox-proxy"

	containerdConfig = "/run/arcbox/containerd.toml"
	dockerConfig     = "/run/arcbox/daemon.json"

	home = "/run/arcbox/home"
	tmp  = "/run/arcbox/tmp"
)

// The names of the services, as the host sees them.
const (
	Containerd = "containerd"
	Dockerd    = "dockerd"
)

// Path is the PATH of every service: our own binaries before those of the root
// file system.
const Path = BinDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
