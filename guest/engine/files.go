package engine

import (
	"fmt"
	"os"
	"path/filepath"
)

// WriteConfig writes the configuration of both services below root, which is
// "" in the guest, and makes the directories that they are given.
func WriteConfig(root string, n Network) error {
	daemon, err := DaemonJSON(n)
	if err != nil {
		return err
	}
	for path, content := range map[string][]byte{containerdConfig: ContainerdTOML(), dockerConfig: daemon} {
		path = root + path
		if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
			return fmt.Errorf("configuration of the engine: %w", err)
		}
		// Not atomic: it is on a file system in memory, before anybody reads it.
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return fmt.Errorf("configuration of the engine: %w", err)
		}
	}
	for _, dir := range []string{home, tmp} {
		if err := os.MkdirAll(root+dir, 0o700); err != nil {
			return fmt.Errorf("directory of the engine: %w", err)
		}
	}
	return nil
}

// Check reports what of the engine's programs is missing or cannot be run.
func Check(binDir string) error {
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "runc", "dockerd", "docker-init", proxy} {
		info, err := os.Stat(filepath.Join(binDir, name))
		switch {
		case err != nil:
			return fmt.Errorf("runtime disk: %w", err)
		case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
			return fmt.Errorf("runtime disk: %s is not a program", filepath.Join(binDir, name))
		}
	}
	return nil
}
