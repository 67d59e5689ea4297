package assets

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"arcbox/adapters/internal/hostfile"
)

// verified remembers which files were read and found to have which checksum,
// keyed by their path below the data directory. It is only a shortcut: a lost
// or unreadable record costs reading the file again.
type verified map[string]verifiedFile

type verifiedFile struct {
	SHA256 string `json:"sha256"`
	hostfile.Identity
}

func recordOf(fi os.FileInfo, sum string) verifiedFile {
	return verifiedFile{SHA256: sum, Identity: hostfile.IdentityOf(fi)}
}

func (c *Cache) verifiedPath() string { return filepath.Join(c.bootDir(), ".verified.json") }

func (c *Cache) loadVerified() verified {
	v := verified{}
	data, err := os.ReadFile(c.verifiedPath())
	if err != nil || json.Unmarshal(data, &v) != nil || v == nil {
		return verified{}
	}
	return v
}

// updateVerified must be called with the lock held.
func (c *Cache) updateVerified(change func(verified)) error {
	v := c.loadVerified()
	before := maps.Clone(v)
	change(v)
	if maps.Equal(before, v) {
		return nil
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeAtomic(c.verifiedPath(), append(data, '\n'), 0o644)
}

func (c *Cache) key(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, c.data), string(filepath.Separator))
}
