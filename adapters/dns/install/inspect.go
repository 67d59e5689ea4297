package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxFile bounds what is read of one file, bytes.
const maxFile = 256 << 10

// inspect finds out what the host is. What is absent is empty; a file that is
// there and cannot be read is an error, because it may not be ours.
func (i *Installer) inspect(ctx context.Context) (State, error) {
	s := State{OS: i.o.OS, Files: map[string]string{}}
	paths := []string{resolvedFile, delegateFile, dnsmasqFile}
	if s.OS == "darwin" {
		paths = []string{filepath.Join(resolverDir, i.o.Target.Domain)}
		for _, name := range i.list(resolverDir) { // a file of ours for another domain is there for all to read
			path := filepath.Join(resolverDir, name)
			if text, err := i.read(path); err == nil && isOurs(text) {
				s.Files[path] = text
			}
		}
	}
	for _, p := range paths {
		text, err := i.read(p)
		if err == nil {
			s.Files[p] = text
		} else if !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
	}
	if s.OS == "darwin" {
		return s, nil
	}
	s.ResolvConf, _ = i.read("/etc/resolv.conf")
	s.NSSwitch, _ = i.read("/etc/nsswitch.conf")
	s.Uplinks, _ = i.read("/run/systemd/resolve/resolv.conf")
	s.ResolvedConf = i.layers("/etc/systemd/resolved.conf", resolvedFile,
		"/usr/lib/systemd/resolved.conf.d", "/usr/local/lib/systemd/resolved.conf.d", "/run/systemd/resolved.conf.d", "/etc/systemd/resolved.conf.d")
	s.NetworkManagerConf = i.layers("/etc/NetworkManager/NetworkManager.conf", "",
		"/usr/lib/NetworkManager/conf.d", "/run/NetworkManager/conf.d", "/etc/NetworkManager/conf.d")
	s.Resolved = i.active(ctx, "systemd-resolved.service")
	s.NetworkManager = i.active(ctx, "NetworkManager.service")
	if version, err := i.o.Run(ctx, []string{"systemctl", "--version"}); err == nil {
		s.SystemdVersion = systemdVersion(version)
	}
	return s, ctx.Err()
}

func (i *Installer) active(ctx context.Context, unit string) bool {
	out, err := i.o.Run(ctx, []string{"systemctl", "is-active", unit})
	return err == nil && strings.TrimSpace(out) == "active"
}

// layers reads a file and then its drop-ins in the order of their names. A
// drop-in replaces one of the same name in an earlier directory.
func (i *Installer) layers(main, without string, dirs ...string) []string {
	dropIns := map[string]string{}
	for _, dir := range dirs {
		for _, name := range i.list(dir) {
			if path := filepath.Join(dir, name); strings.HasSuffix(name, ".conf") && path != without {
				dropIns[name] = path
			}
		}
	}
	paths := []string{main}
	for _, name := range slices.Sorted(maps.Keys(dropIns)) {
		paths = append(paths, dropIns[name])
	}
	var out []string
	for _, p := range paths {
		if text, err := i.read(p); err == nil {
			out = append(out, text)
		}
	}
	return out
}

func (i *Installer) list(dir string) []string {
	entries, _ := os.ReadDir(i.path(dir))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (i *Installer) path(p string) string { return filepath.Join(i.o.Root, p) }

func (i *Installer) read(path string) (string, error) {
	f, err := os.Open(i.path(path))
	if err != nil {
		return "", fmt.Errorf("inspect the host's resolver: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return "", fmt.Errorf("inspect the host's resolver: %w", err)
	}
	return string(b), nil
}
