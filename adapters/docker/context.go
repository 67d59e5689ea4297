package docker

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"arcbox/domain"
)

// ContextName is the Docker CLI context that ArcBox owns.
const ContextName = "arcbox"

// previousFile remembers, in Docker's configuration directory, the context
// that was current before ours. It is empty when none was set.
const previousFile = ".arcbox-previous-context"

// Context manages the Docker CLI's context for ArcBox. It may be used by many
// goroutines.
type Context struct {
	dir    string
	socket string
	mu     sync.Mutex
}

// ContextStatus is what a Docker client of this user would find.
type ContextStatus struct {
	Exists       bool   // the context is there and points at SocketPath
	Elsewhere    string // the endpoint of a context of that name that does not
	Current      bool   // it is the current one
	CurrentName  string // of the current one, "default" if none is set
	SocketPath   string
	SocketExists bool
	// OverriddenBy names the environment variable of this process that makes
	// Docker clients ignore the current context: DOCKER_HOST, DOCKER_CONTEXT,
	// or "". One that leads to ArcBox too does not count.
	OverriddenBy string
}

// NewContext returns the manager of the context in a Docker configuration
// directory, for the socket at socketPath. An empty directory means
// $DOCKER_CONFIG, or .docker in the home directory.
func NewContext(dockerConfigDir, socketPath string) *Context {
	if dockerConfigDir == "" {
		dockerConfigDir = os.Getenv("DOCKER_CONFIG")
	}
	if dockerConfigDir == "" {
		if home, err := os.UserHomeDir(); err == nil {
			dockerConfigDir = filepath.Join(home, ".docker")
		}
	}
	return &Context{dir: dockerConfigDir, socket: socketPath}
}

// Ensure creates the context, or points it at the socket again. It does not
// make it the current one.
func (c *Context) Ensure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ensure()
}

// Enable ensures the context, makes it the current one, and remembers which
// one was.
func (c *Context) Enable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, err := c.readConfig() // first, so that a broken one leaves everything as it is
	if err != nil {
		return err
	}
	if err := c.ensure(); err != nil {
		return err
	}
	current, _ := topString(old, currentKey)
	if current == ContextName {
		return nil
	}
	if err := replaceFile(filepath.Join(c.dir, previousFile), []byte(current), 0o600); err != nil {
		return fmt.Errorf("remember the current Docker context: %w", err)
	}
	return c.writeConfig(setTopString(old, currentKey, ContextName))
}

// Disable makes the context current that was before Enable, if ours still is
// and that one still exists; otherwise Docker's default. If ours is not
// current, it only forgets. The context itself stays.
func (c *Context) Disable() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, err := c.readConfig()
	if err != nil {
		return err
	}
	marker := filepath.Join(c.dir, previousFile)
	if current, _ := topString(old, currentKey); current == ContextName {
		previous, err := os.ReadFile(marker)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("recall the Docker context before ours: %w", err)
		}
		config := removeTop(old, currentKey)
		if name := strings.TrimSpace(string(previous)); c.usable(name) {
			config = setTopString(old, currentKey, name)
		}
		if err := c.writeConfig(config); err != nil {
			return err
		}
	}
	if err := os.Remove(marker); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the Docker context before ours: %w", err)
	}
	return nil
}

// Status reads what is there. It changes nothing.
func (c *Context) Status() (ContextStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	config, err := c.readConfig()
	if err != nil {
		return ContextStatus{}, err
	}
	st := ContextStatus{SocketPath: c.socket, CurrentName: "default"}
	if name, _ := topString(config, currentKey); name != "" {
		st.CurrentName = name
	}
	st.Current = st.CurrentName == ContextName
	if meta, err := os.ReadFile(c.metaPath(ContextName)); err == nil {
		if endpoint := endpointOf(meta); endpoint == c.host() {
			st.Exists = true
		} else {
			st.Elsewhere = endpoint
		}
	}
	if info, err := os.Stat(c.socket); err == nil {
		st.SocketExists = info.Mode().Type() == fs.ModeSocket
	}
	// Docker clients look at the two in this order.
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		if host != c.host() {
			st.OverriddenBy = "DOCKER_HOST"
		}
	} else if name := os.Getenv("DOCKER_CONTEXT"); name != "" && name != ContextName {
		st.OverriddenBy = "DOCKER_CONTEXT"
	}
	return st, nil
}

func (c *Context) host() string { return "unix://" + c.socket }

// metaPath is where the Docker CLI keeps a context (docker/cli
// cli/context/store).
func (c *Context) metaPath(name string) string {
	id := sha256.Sum256([]byte(name))
	return filepath.Join(c.dir, "contexts", "meta", hex.EncodeToString(id[:]), "meta.json")
}

// usable reports whether the Docker CLI would accept name as the current
// context: it fails every command for one that it does not know.
func (c *Context) usable(name string) bool {
	if name == "" || name == ContextName {
		return false
	}
	if name == "default" {
		return true
	}
	_, err := os.Stat(c.metaPath(name))
	return err == nil
}

func (c *Context) ensure() error {
	path := c.metaPath(ContextName)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("Docker context %q: %w", ContextName, err)
	}
	if endpointOf(old) == c.host() {
		return nil
	}
	type endpoint struct {
		Host          string
		SkipTLSVerify bool
	}
	meta, err := json.Marshal(struct {
		Name      string
		Metadata  struct{ Description string }
		Endpoints map[string]endpoint
	}{ContextName, struct{ Description string }{"ArcBox"}, map[string]endpoint{"docker": {Host: c.host()}}})
	if err == nil {
		err = replaceFile(path, meta, 0o644)
	}
	if err != nil {
		return fmt.Errorf("Docker context %q: %w", ContextName, err)
	}
	return nil
}

// endpointOf returns the host of our context's Docker endpoint, "" if meta is
// not a sound description of our context.
func endpointOf(meta []byte) string {
	var m struct {
		Name      string
		Endpoints map[string]struct{ Host string }
	}
	if json.Unmarshal(meta, &m) != nil || m.Name != ContextName {
		return ""
	}
	return m.Endpoints["docker"].Host
}

func (c *Context) configPath() string { return filepath.Join(c.dir, "config.json") }

// readConfig returns Docker's configuration, nil if there is none.
func (c *Context) readConfig() ([]byte, error) {
	if c.dir == "" {
		err := fmt.Errorf("no home directory to look for Docker's configuration in: %w", domain.ErrNotFound)
		return nil, domain.WithHint(err, "set DOCKER_CONFIG")
	}
	config, err := os.ReadFile(c.configPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("Docker's configuration: %w", err)
	}
	if len(bytes.TrimSpace(config)) == 0 {
		return nil, nil // the Docker CLI takes an empty file as none
	}
	if err := checkObject(config); err != nil {
		err = fmt.Errorf("Docker's configuration %s: %w", c.configPath(), err)
		return nil, domain.WithHint(err, "repair the file; it was left as it is")
	}
	return config, nil
}

func (c *Context) writeConfig(config []byte) error {
	if err := replaceFile(c.configPath(), config, 0o600); err != nil {
		return fmt.Errorf("Docker's configuration: %w", err)
	}
	return nil
}
