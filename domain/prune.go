package domain

// PruneOptions says what may go besides what is not used and has no name.
type PruneOptions struct {
	All     bool // images with names too, and all of the build cache
	Volumes bool // anonymous volumes too
}

// PruneResult is what was removed: names or ids, as the engine tells them.
type PruneResult struct {
	Containers, Networks, Volumes, Images, BuildCache []string
	// BootFiles are files of the host.
	BootFiles []string
	// Reclaimed is what engine and host count of all that, bytes.
	Reclaimed uint64
	// Host is by how much the data disk's image became smaller, bytes.
	Host uint64
}
