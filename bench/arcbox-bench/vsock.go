package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// bareVsock is how many MiB a second go through the vsock device to and from a
// program in a real Linux that does nothing but read or write, and how long a
// byte there and back takes: the peer of everything that the daemon moves. The
// device's own test measures it, on a machine of its own with the same kernel;
// the working directory is the clone.
func (b *bench) bareVsock(ctx context.Context) (in, out, trip float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	kernel, err := filepath.Abs(filepath.Join(filepath.Dir(filepath.Clean(b.bin)), "build", "assets", "x86_64", "kernel"))
	if err != nil {
		return 0, 0, 0, err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", "^TestLinuxGuest$/^speed$", "./adapters/vsock")
	cmd.Env = append(cmd.Environ(), "ARCBOX_TEST_KERNEL="+kernel)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return 0, 0, 0, fmt.Errorf("the device's speed test: %w: %s", err, text)
	}
	figures := make([]float64, 3)
	for i, at := range []*regexp.Regexp{
		regexp.MustCompile(`to the guest: (\d+) MB/s`),
		regexp.MustCompile(`from the guest: (\d+) MB/s`),
		regexp.MustCompile(`round trip: median ([0-9.]+)µs`),
	} {
		m := at.FindSubmatch(text)
		if m == nil {
			return 0, 0, 0, fmt.Errorf("the device's speed test printed no %s: %s", at, text)
		}
		if figures[i], err = strconv.ParseFloat(string(m[1]), 64); err != nil {
			return 0, 0, 0, err
		}
	}
	const mib = 1 << 20
	return figures[0] * 1e6 / mib, figures[1] * 1e6 / mib, figures[2] / 1000, nil
}
