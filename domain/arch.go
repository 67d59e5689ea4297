package domain

import "fmt"

// Arch is a guest's processor architecture, under the name that asset sets use.
type Arch string

// Architectures that guests exist for.
const (
	ArchARM64  Arch = "arm64"
	ArchX86_64 Arch = "x86_64"
)

// ArchFor translates a Go architecture name (GOARCH). It returns
// ErrUnsupported for one that no guest exists for.
func ArchFor(goarch string) (Arch, error) {
	switch goarch {
	case "arm64":
		return ArchARM64, nil
	case "amd64":
		return ArchX86_64, nil
	}
	return "", fmt.Errorf("architecture %q: guests exist for arm64 and amd64: %w", goarch, ErrUnsupported)
}

// Platform returns what containers of this architecture call themselves.
func (a Arch) Platform() WorkloadPlatform {
	switch a {
	case ArchARM64:
		return PlatformLinuxARM64
	case ArchX86_64:
		return PlatformLinuxAMD64
	}
	return PlatformUnspecified
}
