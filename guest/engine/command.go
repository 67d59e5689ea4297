package engine

import (
	"os/exec"
	"path/filepath"

	"arcbox/guest/publish/wire"
)

// environment returns that of the services. HOME is there because Go programs
// ask for it; the socket's path is for what dockerd starts.
func environment() []string {
	return []string{"PATH=" + Path, "HOME=/root", "TMPDIR=/tmp", "LANG=C.UTF-8", wire.SocketEnv + "=" + PublishSocket}
}

func command(name string, args ...string) *exec.Cmd {
	//nolint:noctx // the supervisor stops it, with a signal and in its own time
	cmd := exec.Command(filepath.Join(BinDir, name), args...)
	cmd.Env = environment()
	cmd.Dir = "/"
	return cmd
}

// ContainerdCommand returns the command of one start of containerd.
func ContainerdCommand() *exec.Cmd {
	return command("containerd", "--config", containerdConfig)
}

// DockerdCommand returns the command of one start of dockerd.
func DockerdCommand() *exec.Cmd {
	return command("dockerd", "--config-file", dockerConfig)
}
