//go:build linux

// Command guestpeer is the guest's end of the network benchmark. As a container
// of ArcBox it is given its ports; as process 1 of a peer's guest it first
// configures the network that the kernel command line names.
//
//	guestpeer serve 7000-7499   answer on these ports
//	guestpeer memory NAME       count the processes of that name, and their memory
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

func main() {
	err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "guestpeer:", err)
	}
	if os.Getpid() == 1 && len(os.Args) == 1 {
		select {} // process 1 must not end: the kernel would panic and hide the message
	}
	if err != nil {
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 0 && os.Getpid() == 1:
		return boot()
	case len(args) == 2 && args[0] == "serve":
		first, last, err := portRange(args[1])
		if err != nil {
			return err
		}
		return serve(first, last)
	case len(args) == 2 && args[0] == "memory":
		return memory(os.Stdout, args[1])
	}
	return fmt.Errorf("arguments %q: want serve PORTS or memory NAME", args)
}

// portRange reads "7" or "7000-7499".
func portRange(s string) (first, last int, err error) {
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	if first, err = strconv.Atoi(a); err != nil {
		return 0, 0, fmt.Errorf("ports %q: %w", s, err)
	}
	if last, err = strconv.Atoi(b); err != nil {
		return 0, 0, fmt.Errorf("ports %q: %w", s, err)
	}
	return first, last, nil
}
