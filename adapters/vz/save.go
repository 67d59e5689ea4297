package vz

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"arcbox/domain"
)

// Saver is implemented by machines whose state can be saved, and continued by
// Hypervisor.Restore: on Apple silicon from macOS 14, where the framework says that it can
// save the machine's devices.
type Saver interface {
	Pauser
	// Save writes the state of a paused machine, which stays paused, to path and a
	// record of it to path with ".json"; both are replaced. The state holds the
	// guest's memory, encrypted by macOS for this Mac alone. path is absolute, its
	// directory exists. It is of use until the machine goes on: kill it then. A
	// save whose context ended leaves no state that could be restored.
	Save(ctx context.Context, path string) error
}

// savingMachine is a machine that has the capability to save its state.
type savingMachine struct{ *machine }

var _ Saver = savingMachine{}

// Save implements Saver.
func (m savingMachine) Save(ctx context.Context, path string) error {
	if err := checkStatePath(path); err != nil {
		return err
	}
	return m.transit(ctx, "saving the machine's state", func() error { return m.save(ctx, path) })
}

// save never leaves a record without the state that it is of.
func (m savingMachine) save(ctx context.Context, path string) (err error) {
	partial := path + ".partial"
	// The framework writes a new file; an old record must not vouch for a new state.
	for _, p := range []string{recordPath(path), path, partial} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	defer func() {
		if err != nil {
			os.Remove(partial)
			os.Remove(path)
		}
	}()
	if err := m.guest.Save(partial); err != nil {
		return err
	}
	if ctx.Err() != nil { // nobody waits any more, and the machine may go on
		return contextError(ctx)
	}
	if err := settle(partial); err != nil {
		return err
	}
	if err := os.Rename(partial, path); err != nil {
		return err
	}
	marks, err := markFiles(m.config, path)
	if err != nil {
		return err
	}
	return writeRecord(path, savedRecord{Format: savedFormat, Machine: m.name, MacOS: m.info.Version, Configuration: m.config, Files: marks})
}

// settle has a file that somebody else wrote on the disk, for nobody else to read.
func settle(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o600); err != nil {
		return err
	}
	return f.Sync()
}

func checkStatePath(path string) error {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) || !utf8.ValidString(path) {
		return fmt.Errorf("file for a machine's state %q, want an absolute path: %w", path, domain.ErrInvalid)
	}
	return nil
}
