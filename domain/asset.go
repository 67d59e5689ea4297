package domain

// AssetKind says where an asset is installed.
type AssetKind string

// Asset kinds.
const (
	AssetKernel AssetKind = "kernel"
	AssetRootfs AssetKind = "rootfs"
	AssetBinary AssetKind = "binary"
)

// Asset is one file of an asset set for one architecture.
type Asset struct {
	Kind    AssetKind
	Name    string // "kernel", "rootfs.erofs", "dockerd"
	Version string
	Path    string // in the set, a URL reference relative to the manifest
	SHA256  string // lower-case hex
	// InstallDir is where a binary goes below the data directory; empty means runtime/bin.
	InstallDir string
}

// AssetPhase is a step of making an asset available.
type AssetPhase string

// Asset phases.
const (
	AssetChecking    AssetPhase = "checking"
	AssetDownloading AssetPhase = "downloading"
	AssetVerifying   AssetPhase = "verifying"
	AssetReady       AssetPhase = "ready"
	AssetCached      AssetPhase = "cached"
)

// AssetProgress is one step of one asset.
type AssetProgress struct {
	Phase           AssetPhase
	Name            string
	Current, Total  int   // which of how many assets, from 1
	Done, TotalSize int64 // bytes; TotalSize is -1 when unknown
}

// BootAssets is a complete, verified set on disk.
type BootAssets struct {
	Version string
	Kernel  string // host path
	Rootfs  string // host path
	Cmdline string // the manifest's kernel command line
}
