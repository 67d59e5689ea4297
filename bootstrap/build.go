// Package bootstrap reads the configuration and wires the daemon: it is the
// one place that sees every adapter.
package bootstrap

import (
	"path/filepath"

	"arcbox/adapters/daemon"
)

// Build says what this program is and which asset set it pins.
type Build struct {
	Version, Commit, Time string
	// AssetVersion, AssetManifest (sha256) and AssetSource (a URL) are empty in a
	// program that was built without a guest.
	AssetVersion, AssetManifest, AssetSource string
}

func (c Config) paths() daemon.Paths { return daemon.Paths{DataDir: c.DataDir} }

func (c Config) dataImage(name string) string { return filepath.Join(c.DataDir, "data", name) }
