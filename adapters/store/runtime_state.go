package store

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"arcbox/adapters/internal/hostfile"
)

// runtimeState remembers what was read and what was made, so that a start with
// nothing new reads no file. It is only a shortcut: losing it costs time.
type runtimeState struct {
	Files  map[string]fileState         `json:"files"`  // by path in the image
	Images map[string]hostfile.Identity `json:"images"` // by file name; complete ones
}

type fileState struct {
	hostfile.Identity
	SHA256 string `json:"sha256"`
}

func (d *Disks) statePath() string { return filepath.Join(d.runtimeDir(), ".runtime.json") }

func (d *Disks) loadState() *runtimeState {
	st := &runtimeState{}
	if data, err := os.ReadFile(d.statePath()); err != nil || json.Unmarshal(data, st) != nil {
		st = &runtimeState{}
	}
	if st.Files == nil {
		st.Files = map[string]fileState{}
	}
	if st.Images == nil {
		st.Images = map[string]hostfile.Identity{}
	}
	return st
}

// saveState writes only what changed, so that a start with nothing new writes
// no file either.
func (d *Disks) saveState(st *runtimeState) error {
	data, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if old, err := os.ReadFile(d.statePath()); err == nil && string(old) == string(data) {
		return nil
	}
	return renameio.WriteFile(d.statePath(), data, 0o644, renameio.WithTempDir(d.runtimeDir()))
}

// fillSums sets every member's checksum, reading only files that changed, and
// forgets files that are no members any more.
func (st *runtimeState) fillSums(ctx context.Context, members []member) error {
	files := make(map[string]fileState, len(members))
	for i := range members {
		m := &members[i]
		known := st.Files[m.inside]
		if id := hostfile.IdentityOf(m.info); known.Identity != id || known.SHA256 == "" {
			sum, err := hostfile.SHA256(ctx, m.host)
			if err != nil {
				return hostfile.Fault(err)
			}
			// The identity is from before the reading: a file that was written
			// to meanwhile is read again next time.
			known = fileState{Identity: id, SHA256: sum}
		}
		m.sum = known.SHA256
		files[m.inside] = known
	}
	st.Files = files
	return nil
}

// complete says whether the image is one that this store made and nobody
// touched since.
func (st *runtimeState) complete(image, name string) bool {
	fi, err := os.Lstat(image)
	if err != nil || !fi.Mode().IsRegular() {
		return false
	}
	id, ok := st.Images[name]
	return ok && id == hostfile.IdentityOf(fi)
}
