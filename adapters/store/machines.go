// Package store keeps machine records and makes disk images below the data
// directory.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/pelletier/go-toml/v2"

	"arcbox/adapters/internal/hostfile"
	"arcbox/application/port"
	"arcbox/domain"
)

const (
	recordFile = "config.toml"
	maxRecord  = 1 << 20 // bytes
)

// Machines keeps each machine's record in machines/<name>/config.toml. Records
// are replaced as a whole, so readers never see half of one; two writers of the
// same record leave the later one's.
type Machines struct{ dir string }

var _ port.MachineStore = (*Machines)(nil)

// NewMachines returns the store below dataDir. Nothing is created before the
// first Save.
func NewMachines(dataDir string) *Machines {
	return &Machines{dir: filepath.Join(dataDir, "machines")}
}

func (s *Machines) path(name domain.MachineName) string {
	return filepath.Join(s.dir, string(name), recordFile)
}

// Load implements port.MachineStore. A name that cannot be a machine's is
// domain.ErrInvalid.
func (s *Machines) Load(_ context.Context, name domain.MachineName) (domain.Machine, error) {
	if _, err := domain.ParseMachineName(string(name)); err != nil {
		return domain.Machine{}, err
	}
	m, err := s.load(name)
	if errors.Is(err, fs.ErrNotExist) {
		return domain.Machine{}, fmt.Errorf("machine %q: %w", name, domain.ErrNotFound)
	}
	return m, err
}

// load returns fs.ErrNotExist when there is no record.
func (s *Machines) load(name domain.MachineName) (domain.Machine, error) {
	path := s.path(name)
	f, err := os.Open(path)
	if err != nil {
		return domain.Machine{}, err
	}
	defer f.Close()
	corrupt := func(err error) (domain.Machine, error) {
		err = fmt.Errorf("record of machine %q: %w: %w", name, domain.ErrCorrupt, err)
		return domain.Machine{}, domain.WithHint(err, "mend or remove "+path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return corrupt(err)
	}
	if len(data) > maxRecord {
		return corrupt(fmt.Errorf("larger than %d bytes", maxRecord))
	}
	var r record
	if err := toml.Unmarshal(data, &r); err != nil {
		return corrupt(err)
	}
	m, err := r.machine()
	if err != nil {
		return corrupt(err)
	}
	if m.Name != name {
		return corrupt(fmt.Errorf("it is for machine %q", m.Name))
	}
	return m, nil
}

// Save implements port.MachineStore. It refuses a definition that is not valid.
func (s *Machines) Save(_ context.Context, m domain.Machine) error {
	if err := m.Validate(); err != nil {
		return err
	}
	data, err := toml.Marshal(recordOf(m))
	if err != nil {
		return fmt.Errorf("record of machine %q: %w", m.Name, err)
	}
	dir := filepath.Join(s.dir, string(m.Name))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return hostfile.Fault(fmt.Errorf("saving machine %q: %w", m.Name, err))
	}
	err = renameio.WriteFile(s.path(m.Name), data, 0o600, renameio.WithTempDir(dir))
	if err == nil {
		err = errors.Join(hostfile.SyncDir(dir), hostfile.SyncDir(s.dir))
	}
	if err != nil {
		return hostfile.Fault(fmt.Errorf("saving machine %q: %w", m.Name, err))
	}
	return nil
}

// Delete implements port.MachineStore. The directory goes too unless something
// else is in it.
func (s *Machines) Delete(_ context.Context, name domain.MachineName) error {
	if _, err := domain.ParseMachineName(string(name)); err != nil {
		return err
	}
	err := os.Remove(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("deleting machine %q: %w", name, err)
	}
	dir := filepath.Dir(s.path(name))
	if err := hostfile.SyncDir(dir); err != nil {
		return err
	}
	if os.Remove(dir) == nil {
		return hostfile.SyncDir(s.dir)
	}
	return nil
}

// List implements port.MachineStore.
func (s *Machines) List(context.Context) ([]domain.Machine, error) {
	entries, err := os.ReadDir(s.dir) // sorted
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing machines: %w", err)
	}
	var all []domain.Machine
	var bad error
	for _, e := range entries {
		name := e.Name()
		if _, err := os.Stat(filepath.Join(s.dir, name, recordFile)); err != nil {
			continue // a directory without a record, or a stray file, is no machine
		}
		if _, err := domain.ParseMachineName(name); err != nil {
			bad = errors.Join(bad, fmt.Errorf("%s: %w: %w", filepath.Join(s.dir, name), domain.ErrCorrupt, err))
			continue
		}
		m, err := s.load(domain.MachineName(name))
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted meanwhile
		case err != nil:
			bad = errors.Join(bad, err)
		default:
			all = append(all, m)
		}
	}
	return all, bad
}
