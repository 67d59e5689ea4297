package vz

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/google/renameio/v2"

	"arcbox/domain"
)

// savedFormat is the version of savedRecord.
const savedFormat = 1

// maxRecord bounds a record that is read, bytes.
const maxRecord = 1 << 20

// savedRecord is what is kept beside a machine's saved state. A state that is
// restored beside other disks destroys their file systems, and the framework checks
// only the devices.
type savedRecord struct {
	Format        int
	Machine       domain.MachineName
	MacOS         string // the version that saved it
	Configuration Configuration
	// Files are the disks and the state itself, as they were when it was complete.
	Files []fileMark
}

// fileMark tells whether a file was written since.
type fileMark struct {
	Path    string
	Size    int64
	ModTime time.Time
}

func markFiles(c Configuration, state string) ([]fileMark, error) {
	paths := []string{state}
	for _, d := range c.Disks {
		paths = append(paths, d.Path)
	}
	marks := make([]fileMark, 0, len(paths))
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", fileKind(err), err)
		}
		marks = append(marks, fileMark{Path: p, Size: st.Size(), ModTime: st.ModTime().UTC()})
	}
	return marks, nil
}

// check says whether a machine with a configuration may go on from the state.
//
// Errors: domain.ErrInvalidState with what differs.
func (r savedRecord) check(name domain.MachineName, c Configuration, now []fileMark) error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("the saved state: %s: %w", fmt.Sprintf(format, a...), domain.ErrInvalidState)
	}
	switch {
	case r.Format != savedFormat:
		return bad("it has format %d, want %d", r.Format, savedFormat)
	case r.Machine != name:
		return bad("it is of machine %q, not of %q", r.Machine, name)
	case len(r.Configuration.Identifier) == 0:
		return bad("it has no machine identifier")
	case !sameConfiguration(r.Configuration, c):
		return bad("the machine's configuration has changed")
	case len(r.Files) != len(now):
		return bad("it has %d files, want %d", len(r.Files), len(now))
	}
	for i, was := range r.Files {
		is := now[i]
		if was.Path != is.Path || was.Size != is.Size || !was.ModTime.Equal(is.ModTime) {
			return bad("%s has changed since", is.Path)
		}
	}
	return nil
}

// sameConfiguration ignores the identifier, which a new configuration has not got yet.
func sameConfiguration(a, b Configuration) bool {
	a.Identifier, b.Identifier = nil, nil
	one, err := json.Marshal(a)
	if err != nil {
		return false
	}
	other, err := json.Marshal(b)
	return err == nil && bytes.Equal(one, other)
}

// recordPath is where the record of the state at a path is.
func recordPath(state string) string { return state + ".json" }

func writeRecord(state string, r savedRecord) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(recordPath(state), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the record of the saved state: %w: %w", fileKind(err), err)
	}
	return nil
}

func readRecord(state string) (savedRecord, error) {
	var r savedRecord
	path := recordPath(state)
	st, err := os.Stat(path)
	if err != nil {
		return r, fmt.Errorf("the record of the saved state: %w: %w", fileKind(err), err)
	}
	if st.Size() > maxRecord {
		return r, fmt.Errorf("%s: %d bytes: %w", path, st.Size(), domain.ErrCorrupt)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("the record of the saved state: %w: %w", fileKind(err), err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return savedRecord{}, fmt.Errorf("%s: %w: %w", path, domain.ErrCorrupt, err)
	}
	return r, nil
}
