package share

import "golang.org/x/sys/unix"

// budget is how many descriptors of this process a guest can use up.
type budget struct {
	files   int // of files that it knows, and once more of those without a name
	handles int // of files that it has open
}

// maxFiles keeps the host's kernel from remembering too much for us: about a
// kilobyte each.
const maxFiles = 32 << 10

// budgetOf leaves a quarter of the process's descriptors to everything else. The
// runtime has raised the limit to the highest that is allowed.
func budgetOf(limit uint64) budget {
	n := int(min(limit, 1<<20))
	return budget{files: min(n/8, maxFiles), handles: n / 2}
}

func descriptorLimit() uint64 {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return l.Cur
}
