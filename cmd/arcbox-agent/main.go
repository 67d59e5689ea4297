//go:build linux

// Command arcbox-agent is process 1 of the guest.
package main

import (
	"fmt"
	"os"
	"time"

	"arcbox/guest"
)

// Set at link time: -ldflags "-X main.version=... -X main.build=...".
var (
	version = "dev"
	build   = "unknown"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Fprintf(os.Stdout, "arcbox-agent %s (%s)\n", version, build)
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "arcbox-agent is process 1 of an ArcBox guest and does nothing elsewhere; --version shows its version")
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "arcbox-agent:", guest.Main(version, build))
	// The end of process 1 is a kernel panic, which says less than the line above.
	for {
		time.Sleep(time.Hour) //nolint:forbidigo // there is nothing to wait for
	}
}
