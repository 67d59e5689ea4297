package bootstrap

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"arcbox/domain"
)

// keyError is what is wrong with a key; the loader adds where it was set.
type keyError struct {
	key, value string // value is " = VALUE", "" for one that must not be shown
	err        error
}

func (e *keyError) Error() string {
	return "configuration key " + e.key + e.value + ": " + e.err.Error()
}

func (e *keyError) Unwrap() error { return e.err }

// resolve checks the values and fills in what depends on the host.
func (c Config) resolve() (Config, error) {
	bad := func(key string, value any, want string) (Config, error) {
		if k, ok := findConfigKey(key); ok && want == "" {
			want = k.want(nil)
		}
		return Config{}, &keyError{key, fmt.Sprintf(" = %v", value), fmt.Errorf("want %s: %w", want, domain.ErrInvalid)}
	}
	if c.DataDir == "" {
		return bad("data_dir", c.DataDir, "")
	}
	// The daemon works in another directory than the command that starts it.
	for key, path := range map[string]*string{"data_dir": &c.DataDir, "docker.socket_path": &c.Docker.SocketPath, "docker.ssh_agent": &c.Docker.SSHAgent, "vm.kernel_path": &c.VM.KernelPath} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(expandHome(*path))
		if err != nil {
			return bad(key, *path, "")
		}
		*path = abs
	}
	fields := configFields(&c)
	for _, k := range configKeys() {
		if v := fields[k.key]; !k.inBounds(v) {
			return bad(k.key, v.Interface(), k.want(v.Type()))
		}
	}
	switch {
	case c.VM.StartupTimeout <= 0:
		return bad("vm.startup_timeout", c.VM.StartupTimeout, "")
	case c.VM.IdleTimeout < 0:
		return bad("vm.idle_timeout", c.VM.IdleTimeout, "")
	case c.VM.StopTimeout < 0:
		return bad("vm.stop_timeout", c.VM.StopTimeout, "")
	case c.Container.StartupTimeoutMS <= 0:
		return bad("container.startup_timeout_ms", c.Container.StartupTimeoutMS, "")
	case c.Container.GuestDockerVsockPort == 0 || slices.Contains([]uint32{domain.PortAgent, domain.PortStream, domain.PortKubernetes}, c.Container.GuestDockerVsockPort):
		return bad("container.guest_docker_vsock_port", c.Container.GuestDockerVsockPort, "")
	}
	if _, err := c.shares(); err != nil {
		return Config{}, err
	}
	p, err := netip.ParsePrefix(c.Network.Subnet)
	if err != nil || !p.Addr().Is4() || p.Bits() > 29 || p.Masked() != p {
		return bad("network.subnet", c.Network.Subnet, "")
	}
	if c.Network.Domain, err = domain.ParseDomain(c.Network.Domain); err != nil {
		return Config{}, &keyError{"network.domain", "", err}
	}
	// A check per key, whose error does not show the value: it may hold a password.
	for key, one := range map[string]domain.Proxy{"http": {HTTP: c.Proxy.HTTP}, "https": {HTTPS: c.Proxy.HTTPS}, "no_proxy": {None: c.Proxy.NoProxy}} {
		if err := one.Check(); err != nil {
			return Config{}, &keyError{"proxy." + key, "", err}
		}
	}
	for _, d := range c.Network.DNS {
		if _, err := netip.ParseAddr(d); err != nil {
			return bad("network.dns", d, "")
		}
	}
	if c.VM.CPUs == 0 {
		c.VM.CPUs = runtime.NumCPU()
	}
	if c.VM.MemoryMB == 0 {
		c.VM.MemoryMB = uint64(domain.DefaultMemory(hostMemory()))
	}
	if c.Docker.SocketPath == "" {
		c.Docker.SocketPath = filepath.Join(c.DataDir, "run", "docker.sock")
	}
	return c, nil
}

// expandHome puts the home directory in the place of a leading "~".
func expandHome(path string) string {
	rest, ok := strings.CutPrefix(path, "~/")
	if home, err := os.UserHomeDir(); ok && err == nil {
		return filepath.Join(home, rest)
	}
	return path
}
