package domain

import "fmt"

// AgentBinary is the guest agent's name in asset sets and on disk.
const AgentBinary = "arcbox-agent"

// Names of the files that a set installs in its own directory.
const (
	KernelFile = "kernel"
	RootfsFile = "rootfs.erofs"
)

// Directories below the data directory that binaries are installed in.
const (
	RuntimeBinDir = "runtime/bin"
	AgentBinDir   = "bin"
)

// RequiredRuntimeBinaries are the programs without which the guest cannot run
// containers; they are in RuntimeBinDir.
func RequiredRuntimeBinaries() []string {
	return []string{"dockerd", "containerd", "containerd-shim-runc-v2", "runc", "docker-init", "arcbox-proxy"}
}

// KubernetesBinaries are the programs of which Kubernetes needs one, the
// preferred one first.
func KubernetesBinaries() []string { return []string{"kube", "k3s"} }

// Assets lists what the set has for one architecture: kernel, root file system,
// then the binaries in the manifest's order. Binaries that do not exist for the
// architecture are left out; ErrUnsupported when the set does not boot on it.
func (m Manifest) Assets(arch Arch) ([]Asset, error) {
	t, ok := m.Targets[arch]
	if !ok {
		return nil, fmt.Errorf("asset set %s has nothing for %s: %w", m.AssetVersion, arch, ErrUnsupported)
	}
	out := []Asset{
		{Kind: AssetKernel, Name: KernelFile, Version: t.Kernel.Version, Path: t.Kernel.Path, SHA256: t.Kernel.SHA256},
		{Kind: AssetRootfs, Name: RootfsFile, Version: t.Rootfs.Version, Path: t.Rootfs.Path, SHA256: t.Rootfs.SHA256},
	}
	for _, b := range m.Binaries {
		ref, ok := b.Targets[arch]
		if !ok {
			continue
		}
		a := Asset{Kind: AssetBinary, Name: b.Name, Version: b.Version, Path: ref.Path, SHA256: ref.SHA256}
		if dir := b.installDir(); dir != RuntimeBinDir {
			a.InstallDir = dir
		}
		out = append(out, a)
	}
	return out, nil
}

// Cmdline returns the kernel command line for an architecture, "" when the set
// has none.
func (m Manifest) Cmdline(arch Arch) string { return m.Targets[arch].Cmdline }

// installDir is where the binary goes below the data directory. The agent has
// its own place, because it is no part of the runtime; all others are in
// runtime/bin or in a directory beside it.
func (b ManifestBinary) installDir() string {
	switch {
	case b.Name == AgentBinary:
		return AgentBinDir
	case b.InstallDir == "":
		return RuntimeBinDir
	}
	return "runtime/" + b.InstallDir
}
