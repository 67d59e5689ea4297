package hostfile

import "os"

// SyncDir makes the creations, renames and removals in dir last over a crash of
// the host.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
