package bootstrap

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"arcbox/domain"
)

// Config is everything that a user can set. The tags are the keys of the
// configuration file; in the environment a key is upper case, begins with
// ARCBOX_ and has "__" between its parts: ARCBOX_VM__MEMORY_MB.
type Config struct {
	DataDir   string          `koanf:"data_dir"`
	VM        VMConfig        `koanf:"vm"`
	Network   NetworkConfig   `koanf:"network"`
	Proxy     ProxyConfig     `koanf:"proxy"`
	Docker    DockerConfig    `koanf:"docker"`
	Container ContainerConfig `koanf:"container"`
	Assets    AssetsConfig    `koanf:"assets"`
	Logging   LoggingConfig   `koanf:"logging"`
}

// VMConfig is about the virtual machine.
type VMConfig struct {
	CPUs       int    `koanf:"cpus"`      // 0: as many as the host has
	MemoryMB   uint64 `koanf:"memory_mb"` // 0: half of the host's, 512 to 16384
	DiskGB     uint64 `koanf:"disk_gb"`
	KernelPath string `koanf:"kernel_path"`
	// Mounts are the directories of the host that the guest has: "PATH[:ro|:rw]".
	Mounts []string `koanf:"mounts"`
	// Boot is eager (with the daemon) or on_demand (with the first request).
	Boot           string        `koanf:"boot"`
	Accelerator    string        `koanf:"accelerator"`
	TCGTimeFactor  int           `koanf:"tcg_time_factor"`
	StartupTimeout time.Duration `koanf:"startup_timeout"`
	IdleTimeout    time.Duration `koanf:"idle_timeout"`
	StopTimeout    time.Duration `koanf:"stop_timeout"`
	Watch          bool          `koanf:"watch"`       // changes on the host wake watchers in containers
	WatchLimit     int           `koanf:"watch_limit"` // directories
}

// NetworkConfig is about the guest's network.
type NetworkConfig struct {
	Subnet string   `koanf:"subnet"`
	DNS    []string `koanf:"dns"` // empty: the host's resolvers
	MTU    int      `koanf:"mtu"`
	Domain string   `koanf:"domain"`
	// DNSPort is where the names are answered on 127.0.0.1; 0 is nowhere.
	DNSPort int `koanf:"dns_port"`
}

// ProxyConfig says how the guest reaches other networks. Empty strings are
// taken from what the host itself uses.
type ProxyConfig struct {
	Mode    string `koanf:"mode"` // domain.ProxyAuto or domain.ProxyNone
	HTTP    string `koanf:"http"`
	HTTPS   string `koanf:"https"`
	NoProxy string `koanf:"no_proxy"` // separated by commas
}

func (p ProxyConfig) proxy() domain.Proxy {
	return domain.Proxy{HTTP: p.HTTP, HTTPS: p.HTTPS, None: p.NoProxy}
}

// String hides the passwords in the URLs.
func (p ProxyConfig) String() string { return fmt.Sprintf("mode=%s %s", p.Mode, p.proxy()) }

// GoString hides what String hides.
func (p ProxyConfig) GoString() string { return "bootstrap.ProxyConfig{" + p.String() + "}" }

// DockerConfig is about the Docker API on the host.
type DockerConfig struct {
	SocketPath string `koanf:"socket_path"` // empty: <data_dir>/run/docker.sock
	Context    bool   `koanf:"context"`     // keep a Docker context named arcbox
	SSHAgent   string `koanf:"ssh_agent"`   // socket of the user's SSH agent; empty: $SSH_AUTH_SOCK
}

// ContainerConfig is about the engine in the guest.
type ContainerConfig struct {
	StartupTimeoutMS     int    `koanf:"startup_timeout_ms"`
	GuestDockerVsockPort uint32 `koanf:"guest_docker_vsock_port"`
	CACertificates       bool   `koanf:"ca_certificates"` // give them to every container
	Proxies              bool   `koanf:"proxies"`         // name them in every container's environment
}

// AssetsConfig says where the guest comes from.
type AssetsConfig struct {
	Source  string `koanf:"source"`  // empty: the one that the binary was built with
	Version string `koanf:"version"` // empty: the one that the binary pins
}

// LoggingConfig is about the daemon's log.
type LoggingConfig struct {
	Level string `koanf:"level"`
}

// Boot modes.
const (
	BootEager    = "eager"
	BootOnDemand = "on_demand"
)

// DefaultConfig is what holds where nothing is set.
func DefaultConfig() Config {
	return Config{
		DataDir: defaultDataDir(),
		VM: VMConfig{DiskGB: 64, Boot: BootEager, Accelerator: string(domain.AcceleratorAuto), TCGTimeFactor: 4,
			StartupTimeout: 90 * time.Second, IdleTimeout: 5 * time.Minute, StopTimeout: 10 * time.Minute,
			Watch: true, WatchLimit: 65536, Mounts: defaultMounts()},
		Network:   NetworkConfig{Subnet: "10.0.2.0/24", DNS: []string{}, MTU: 65520, Domain: "arcbox.local", DNSPort: 5553},
		Proxy:     ProxyConfig{Mode: string(domain.ProxyAuto)},
		Docker:    DockerConfig{Context: true},
		Container: ContainerConfig{StartupTimeoutMS: 60000, GuestDockerVsockPort: domain.PortDocker},
		Logging:   LoggingConfig{Level: "info"},
	}
}

func defaultDataDir() string {
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".arcbox")
	}
	return "/var/lib/arcbox"
}

// defaultMounts is the home directory, unless the user has none of their own.
func defaultMounts() []string {
	home, err := os.UserHomeDir()
	if err != nil {
		return []string{}
	}
	if st, err := os.Stat(home); err != nil || !st.IsDir() {
		return []string{}
	}
	if _, err := domain.ParseShares([]string{"~"}, home); err != nil {
		return []string{}
	}
	return []string{"~"}
}

// shares are the directories that the guest gets.
func (c Config) shares() ([]domain.Share, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // only "~" needs it, and says so
	}
	shares, err := domain.ParseShares(c.VM.Mounts, home)
	if err != nil {
		return nil, err
	}
	for _, s := range shares {
		if domain.Within(s.Path, c.DataDir) {
			return nil, &keyError{"vm.mounts", "", fmt.Errorf("%s is in the directory %s of ArcBox, which the virtual machine does not see: %w",
				s.Path, c.DataDir, domain.ErrInvalid)}
		}
	}
	return shares, nil
}

// ConfigFiles are the configuration files in the order in which they are read.
func ConfigFiles() []string {
	files := []string{"/etc/arcbox/config.toml"}
	if home, err := os.UserHomeDir(); err == nil {
		dir := filepath.Join(home, ".config")
		if x := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(x) {
			dir = x
		}
		files = append(files, filepath.Join(dir, "arcbox", "config.toml"))
	}
	return files
}
