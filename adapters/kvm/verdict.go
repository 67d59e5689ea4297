package kvm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// kvmState is what is known of KVM on this host.
type kvmState string

const (
	kvmUnknown  kvmState = ""         // never tried
	kvmStarts   kvmState = "starts"   // a paused machine could be made
	kvmProven   kvmState = "proven"   // a guest's kernel has run
	kvmUnusable kvmState = "unusable" // neither
)

// verdict is what a probe found out about one QEMU binary on one boot of the
// host.
type verdict struct {
	Subject subject  `json:"subject"`
	Version version  `json:"version"`
	KVM     kvmState `json:"kvm"`
	Reason  string   `json:"reason,omitempty"` // why KVM is unusable
}

// subject is what a verdict is about; it holds no longer when any of it changes.
type subject struct {
	BootID  string    `json:"boot_id"`
	Binary  string    `json:"binary"`
	Size    int64     `json:"size"`
	ModTime time.Time `json:"mod_time"`
	Device  string    `json:"device"` // of KVM
	Arch    Arch      `json:"arch"`
}

func (s subject) equal(o subject) bool {
	same := s.ModTime.Equal(o.ModTime)
	s.ModTime, o.ModTime = time.Time{}, time.Time{}
	return same && s == o
}

// verdictFile keeps the newest verdict: in memory, and in a file unless path is
// empty. The caller serialises its use.
type verdictFile struct {
	path string
	kept *verdict
}

// maxVerdict bounds the file, bytes.
const maxVerdict = 64 << 10

// load returns the verdict about s. A file that is missing, cannot be read or is about
// something else is no verdict: probing again costs less than being wrong.
func (f *verdictFile) load(s subject) (verdict, bool) {
	if f.kept == nil && f.path != "" {
		if v, err := readVerdict(f.path); err == nil {
			f.kept = &v
		}
	}
	if f.kept == nil || !f.kept.Subject.equal(s) {
		return verdict{}, false
	}
	return *f.kept, true
}

func readVerdict(path string) (verdict, error) {
	file, err := os.Open(path)
	if err != nil {
		return verdict{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxVerdict))
	if err != nil {
		return verdict{}, err
	}
	var v verdict
	if err := json.Unmarshal(data, &v); err != nil {
		return verdict{}, err
	}
	return v, nil
}

// save keeps v. On an error it is kept in memory all the same.
func (f *verdictFile) save(v verdict) error {
	f.kept = &v
	if f.path == "" {
		return nil
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the verdict on KVM: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("saving the verdict on KVM: %w", err)
	}
	if err := renameio.WriteFile(f.path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("saving the verdict on KVM: %w", err)
	}
	return nil
}
