package assets

import (
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"arcbox/adapters/internal/hostfile"
)

func writeAtomic(path string, data []byte, mode os.FileMode) error {
	// The temporary file must be on the same file system, whatever TMPDIR says.
	if err := renameio.WriteFile(path, data, mode, renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return hostfile.Fault(err)
	}
	return hostfile.SyncDir(filepath.Dir(path))
}
