package domain

const (
	minMemory      MiB = 512
	maxMemory      MiB = 16384
	fallbackMemory MiB = 4096
)

// DefaultMemory is how much of the host's memory a machine gets when nobody
// said how much: half, within bounds; 0 stands for an unknown host.
func DefaultMemory(host MiB) MiB {
	if host == 0 {
		return fallbackMemory
	}
	return min(max(host/2, minMemory), maxMemory)
}
