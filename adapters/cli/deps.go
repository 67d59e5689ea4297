// Package cli is the command tree: a thin client of the daemon's gRPC API, and
// of the few things that work without a daemon.
package cli

import (
	"context"
	"io"

	"arcbox/domain"
)

// Build says what was built.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Time    string `json:"build_time"`
}

// Settings are what the configuration says that a command needs to know.
type Settings struct {
	DataDir      string
	DockerSocket string
	GRPCSocket   string
	DaemonLog    string
	Kernel       string // one that replaces the asset set's; "" for none
}

// Overrides are configuration keys set by flags.
type Overrides map[string]any

// Daemon is the daemon as a process.
type Daemon interface {
	// Run is the daemon itself: it returns when the daemon has stopped.
	Run(ctx context.Context, foreground bool, ready func(Settings)) error
	// Spawn starts a daemon in the background and returns when its API answers.
	Spawn(ctx context.Context, args []string, ready func(context.Context) bool) (pid int, err error)
	// Stop stops a running daemon and waits; stopped is false when none ran.
	Stop(ctx context.Context, force bool) (stopped bool, err error)
	// Probe says whether a daemon runs.
	Probe() (pid int, running bool, err error)
}

// BootStatus is what the boot assets on disk are.
type BootStatus struct {
	Version         string `json:"version"`
	Arch            string `json:"arch"`
	CacheDir        string `json:"cache_dir"`
	Source          string `json:"source"`
	Pinned          bool   `json:"pinned"`
	Cached          bool   `json:"cached"`
	LatestVersion   string `json:"latest_version,omitempty"`
	UpdateAvailable bool   `json:"update_available"`
}

// Boot is the boot assets, without a daemon.
type Boot interface {
	Prefetch(ctx context.Context, force bool, progress func(domain.AssetProgress)) error
	Status(ctx context.Context, offline bool) (BootStatus, error)
	List(ctx context.Context) ([]string, error)
	Clear(ctx context.Context) ([]string, error)
}

// DockerStatus is the state of the Docker context.
type DockerStatus struct {
	ContextExists bool   `json:"context_exists"`
	Current       bool   `json:"is_default"`
	SocketPath    string `json:"socket_path"`
	SocketExists  bool   `json:"socket_exists"`
	// Overridden names what the environment puts above the context; "" for nothing.
	Overridden string `json:"overridden,omitempty"`
}

// DockerContext is the Docker context named arcbox.
type DockerContext interface {
	// Enable makes the context current, and remembers the one that was.
	Enable() error
	// Disable gives back what Enable took, if it is still arcbox that is current.
	Disable() error
	Status() (DockerStatus, error)
}

// DNSStep is one thing that is done to the host's resolver.
type DNSStep struct {
	Write   string   `json:"write,omitempty"` // path of a file
	Content string   `json:"content,omitempty"`
	Remove  string   `json:"remove,omitempty"` // path of a file
	Command []string `json:"command,omitempty"`
}

// DNSChange is what was done to the host's resolver, or would be.
type DNSChange struct {
	Method string    `json:"method,omitempty"`
	Steps  []DNSStep `json:"steps"` // none when there was nothing to do
}

// DNSStatus is how the host's resolver and the daemon stand to each other.
type DNSStatus struct {
	Domain    string   `json:"domain"`
	Server    string   `json:"server"` // where the daemon answers
	Answers   bool     `json:"answers"`
	Method    string   `json:"method,omitempty"`
	Installed bool     `json:"installed"`
	Files     []string `json:"files"`
	Resolves  bool     `json:"resolves"`
	// Problem and Hint say what stands in the way of an installation.
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

// DNS makes the host's resolver ask the daemon for the names of containers.
type DNS interface {
	// Install and Uninstall change nothing when dry is set.
	Install(ctx context.Context, dry bool) (DNSChange, error)
	Uninstall(ctx context.Context, dry bool) (DNSChange, error)
	Status(ctx context.Context) (DNSStatus, error)
}

// Logs reads log files.
type Logs interface {
	Path(component string) string
	Tail(component string, n int) ([]string, error)
}

// Deps is what the commands work with; each is made when a command needs it.
type Deps struct {
	Build    Build
	Settings func(Overrides) (Settings, error)
	Daemon   func(Overrides) (Daemon, error)
	Boot     func(Overrides) (Boot, error)
	Docker   func(Overrides) (DockerContext, error)
	Logs     func(Overrides) (Logs, error)
	DNS      func(Overrides) (DNS, error)
	Network  func(Overrides) (Network, error)
	Config   func(Overrides) Config
	Host     func(Overrides) (Host, error)

	// Stdin is asked for confirmations; nil is one that has nothing to say.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal says whether Stderr is a terminal, Asks whether Stdin is one too.
	Terminal, Asks bool
	// Color says whether Stderr shows colours: a terminal, and no NO_COLOR.
	Color bool
}
