package bootstrap

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"

	"arcbox/adapters/telemetry"
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
			return nil, fmt.Errorf("configuration key vm.mounts: %s is in the directory %s of ArcBox, which the virtual machine does not see: %w",
				s.Path, c.DataDir, domain.ErrInvalid)
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

// envOutside are variables that begin with ARCBOX_ and are not configuration keys.
var envOutside = []string{"ARCBOX_CACHE", "ARCBOX_DEBIAN_MIRROR"}

const (
	envPrefix     = "ARCBOX_"
	envTestPrefix = "ARCBOX_TEST_"
)

// LoadConfig reads defaults, the files that exist, the environment ("K=V") and
// flags (key to value), each overriding those before it. An unknown key is
// domain.ErrInvalid, names where it stands and suggests the nearest one.
func LoadConfig(files, environ []string, flags map[string]any) (Config, error) {
	k := koanf.New(".")
	if err := k.Load(structs.Provider(DefaultConfig(), "koanf"), nil); err != nil {
		return Config{}, fmt.Errorf("configuration defaults: %w", err)
	}
	known := k.Keys()
	merge := func(from *koanf.Koanf, where string) error {
		for _, key := range from.Keys() {
			if !slices.Contains(known, key) {
				return unknownKey(key, where, known)
			}
		}
		return k.Merge(from)
	}
	for _, f := range files {
		one := koanf.New(".")
		if err := one.Load(file.Provider(f), toml.Parser()); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return Config{}, fmt.Errorf("configuration file %s: %w: %w", f, err, domain.ErrInvalid)
		}
		if err := merge(one, f); err != nil {
			return Config{}, err
		}
	}
	fromEnv := koanf.New(".")
	if err := fromEnv.Load(env.Provider(".", env.Opt{Prefix: envPrefix, EnvironFunc: func() []string { return environ },
		TransformFunc: envKey}), nil); err != nil {
		return Config{}, fmt.Errorf("configuration in the environment: %w", err)
	}
	if err := merge(fromEnv, "the environment"); err != nil {
		return Config{}, err
	}
	fromFlags := koanf.New(".")
	if err := fromFlags.Load(confmap.Provider(flags, "."), nil); err != nil {
		return Config{}, fmt.Errorf("configuration flags: %w", err)
	}
	if err := merge(fromFlags, "the flags"); err != nil {
		return Config{}, err
	}
	var c Config
	if err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result: &c, TagName: "koanf", WeaklyTypedInput: true, ErrorUnused: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(",")),
	}}); err != nil {
		return Config{}, fmt.Errorf("configuration: %s: %w", oneLine(err), domain.ErrInvalid)
	}
	return c.resolve()
}

func envKey(name, value string) (string, any) {
	if slices.Contains(envOutside, name) || strings.HasPrefix(name, envTestPrefix) || value == "" {
		return "", nil
	}
	if key, ok := map[string]string{"ARCBOX_DNS_PORT": "network.dns_port", "ARCBOX_DNS_DOMAIN": "network.domain"}[name]; ok {
		return key, value
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, envPrefix)), "__", "."), value
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func unknownKey(key, where string, known []string) error {
	err := fmt.Errorf("unknown configuration key %q in %s: %w", key, where, domain.ErrInvalid)
	if near, ok := domain.Nearest(key, known); ok {
		return domain.WithHint(err, fmt.Sprintf("did you mean %q?", near))
	}
	return domain.WithHint(err, "the keys are listed in docs/configuration.md")
}

// resolve checks the values and fills in what depends on the host.
func (c Config) resolve() (Config, error) {
	bad := func(key string, value any, want string) (Config, error) {
		return Config{}, fmt.Errorf("configuration key %s = %v: want %s: %w", key, value, want, domain.ErrInvalid)
	}
	if c.DataDir == "" {
		return bad("data_dir", c.DataDir, "a directory")
	}
	// The daemon works in another directory than the command that starts it.
	for key, path := range map[string]*string{"data_dir": &c.DataDir, "docker.socket_path": &c.Docker.SocketPath, "docker.ssh_agent": &c.Docker.SSHAgent, "vm.kernel_path": &c.VM.KernelPath} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return bad(key, *path, "a path")
		}
		*path = abs
	}
	switch {
	case c.VM.CPUs < 0 || c.VM.CPUs > 255:
		return bad("vm.cpus", c.VM.CPUs, "0 to 255")
	case c.VM.MemoryMB != 0 && (c.VM.MemoryMB < 512 || c.VM.MemoryMB > 1<<20):
		return bad("vm.memory_mb", c.VM.MemoryMB, "0, or 512 to 1048576")
	case c.VM.DiskGB < 1 || c.VM.DiskGB > 16<<10:
		return bad("vm.disk_gb", c.VM.DiskGB, "1 to 16384")
	case c.VM.Boot != BootEager && c.VM.Boot != BootOnDemand:
		return bad("vm.boot", c.VM.Boot, "eager or on_demand")
	case !slices.Contains([]domain.Accelerator{domain.AcceleratorAuto, domain.AcceleratorKVM, domain.AcceleratorTCG}, domain.Accelerator(c.VM.Accelerator)):
		return bad("vm.accelerator", c.VM.Accelerator, "auto, kvm or tcg")
	case c.VM.TCGTimeFactor < 1 || c.VM.TCGTimeFactor > 100:
		return bad("vm.tcg_time_factor", c.VM.TCGTimeFactor, "1 to 100")
	case c.VM.StartupTimeout <= 0:
		return bad("vm.startup_timeout", c.VM.StartupTimeout, "a positive duration such as 90s")
	case c.VM.IdleTimeout < 0:
		return bad("vm.idle_timeout", c.VM.IdleTimeout, "a duration such as 5m, or 0 for never")
	case c.VM.StopTimeout < 0:
		return bad("vm.stop_timeout", c.VM.StopTimeout, "a duration such as 10m, or 0 for never")
	case c.VM.WatchLimit < 1 || c.VM.WatchLimit > 1<<20:
		return bad("vm.watch_limit", c.VM.WatchLimit, "1 to 1048576")
	case c.Network.MTU < 1280 || c.Network.MTU > 65520:
		return bad("network.mtu", c.Network.MTU, "1280 to 65520")
	case c.Network.DNSPort < 0 || c.Network.DNSPort > 65535:
		return bad("network.dns_port", c.Network.DNSPort, "0 to 65535")
	case c.Proxy.Mode != string(domain.ProxyAuto) && c.Proxy.Mode != string(domain.ProxyNone):
		return bad("proxy.mode", c.Proxy.Mode, "auto or none")
	case c.Container.StartupTimeoutMS <= 0:
		return bad("container.startup_timeout_ms", c.Container.StartupTimeoutMS, "a positive number of milliseconds")
	case c.Container.GuestDockerVsockPort == 0 || slices.Contains([]uint32{domain.PortAgent, domain.PortStream, domain.PortKubernetes}, c.Container.GuestDockerVsockPort):
		return bad("container.guest_docker_vsock_port", c.Container.GuestDockerVsockPort, "a vsock port that is not 1024, 1025 or 16443")
	}
	if _, err := c.shares(); err != nil {
		return Config{}, err
	}
	p, err := netip.ParsePrefix(c.Network.Subnet)
	if err != nil || !p.Addr().Is4() || p.Bits() > 29 || p.Masked() != p {
		return bad("network.subnet", c.Network.Subnet, "an IPv4 network such as 10.0.2.0/24")
	}
	if c.Network.Domain, err = domain.ParseDomain(c.Network.Domain); err != nil {
		return Config{}, fmt.Errorf("configuration key network.domain: %w", err)
	}
	// A check per key, whose error does not show the value: it may hold a password.
	for key, one := range map[string]domain.Proxy{"http": {HTTP: c.Proxy.HTTP}, "https": {HTTPS: c.Proxy.HTTPS}, "no_proxy": {None: c.Proxy.NoProxy}} {
		if err := one.Check(); err != nil {
			return Config{}, fmt.Errorf("configuration key proxy.%s: %w", key, err)
		}
	}
	for _, d := range c.Network.DNS {
		if _, err := netip.ParseAddr(d); err != nil {
			return bad("network.dns", d, "IP addresses")
		}
	}
	if _, err := telemetry.ParseLevel(c.Logging.Level); err != nil {
		return bad("logging.level", c.Logging.Level, "debug, info, warn or error")
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
