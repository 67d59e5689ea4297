package engine

import (
	"os/exec"
	"path/filepath"

	"arcbox/domain"
	"arcbox/guest/publish/wire"
)

// environment returns that of the services. HOME is there because Go programs
// ask for it; the socket's path is for what dockerd starts. Neither directory
// can be one of the host's, as /root and /tmp can.
func environment() []string {
	return []string{"PATH=" + Path, "HOME=" + home, "TMPDIR=" + tmp, "LANG=C.UTF-8", wire.SocketEnv + "=" + PublishSocket}
}

func command(name string, args ...string) *exec.Cmd {
	//nolint:noctx // the supervisor stops it, with a signal and in its own time
	cmd := exec.Command(filepath.Join(BinDir, name), args...)
	cmd.Env = environment()
	cmd.Dir = "/"
	return cmd
}

// ContainerdCommand returns the command of one start of containerd. It needs no
// proxy: what is pulled and pushed goes through dockerd.
func ContainerdCommand() *exec.Cmd {
	return command("containerd", "--config", containerdConfig)
}

// DockerdCommand returns the command of one start of dockerd, which reaches
// registries, and BuildKit in it also others, by proxy.
func DockerdCommand(proxy domain.Proxy) *exec.Cmd {
	cmd := command("dockerd", "--config-file", dockerConfig)
	cmd.Env = append(cmd.Env, domain.ProxyEnv(withoutProxy(proxy))...)
	return cmd
}
