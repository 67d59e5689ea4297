// Command fsx tortures a file system, and is the inside of the end-to-end tests
// of files: a static program for the host and for containers.
//
//	fsx -dir D -ops N -seed S [-reference R] [-procs P]
//
// gives the same random operations to a directory below D and to one below R (a
// file system that is right, /dev/shm unless told otherwise), and compares every
// answer and, at the end, everything. P processes work on trees of their own and
// count together in one file, under flock and under fcntl locks. A mismatch
// shows the seed and the last operations, and leaves both trees.
//
//	fsx count -file F -lock flock|fcntl|none -times N
//	fsx serve                 answer requests on standard input; see serve.go
//	fsx many -dir D -n N      make, and with -remove remove, N small files
//	fsx big -file F -mib N    write, check and remove a file of N MiB
//	fsx journal -file F       write lines, and say each after its fsync
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fsx:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "count":
			return runCount(args[1:])
		case "serve":
			return serve(os.Stdin, os.Stdout)
		case "many":
			return runMany(args[1:])
		case "big":
			return runBig(args[1:])
		case "journal":
			return runJournal(args[1:])
		}
	}
	return runTorture(args)
}

func runTorture(args []string) error {
	flags := flag.NewFlagSet("fsx", flag.ContinueOnError)
	var (
		dir       = flags.String("dir", "", "directory of the file system to torture")
		reference = flags.String("reference", "/dev/shm", "directory of a file system that is right")
		ops       = flags.Int("ops", 1000, "operations of each process")
		seed      = flags.Uint64("seed", uint64(time.Now().UnixNano()), "what the operations are made of") //nolint:gosec // after 1970
		procs     = flags.Int("procs", 1, "processes")
		process   = flags.Int("process", -1, "be this process of several")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dir == "" || *ops < 1 || *procs < 1 {
		return errors.New("-dir, and at least one of -ops and -procs, have to be there")
	}
	if *process >= 0 {
		return errors.Join(runOne(*dir, *reference, *seed, *process, *ops), countBoth(*dir, *seed, *ops))
	}
	began := time.Now()
	if *procs == 1 {
		if err := runOne(*dir, *reference, *seed, 0, *ops); err != nil {
			return err
		}
	} else if err := runProcesses(*dir, *reference, *seed, *procs, *ops); err != nil {
		return err
	}
	fmt.Printf("fsx: %d operations of %d processes agree, seed %d, %.1f s\n", *ops, *procs, *seed, time.Since(began).Seconds())
	return nil
}

// locks are the kinds of lock under which processes count together.
var locks = [...]string{"flock", "fcntl"}

// countings is how often a process counts under each kind of lock.
func countings(ops int) int { return max(20, ops/20) }

func counterFile(dir string, seed uint64, lock string) string {
	return filepath.Join(dir, fmt.Sprintf("fsx-%d-%s", seed, lock))
}

func countBoth(dir string, seed uint64, ops int) error {
	var errs []error
	for _, lock := range locks {
		errs = append(errs, count(counterFile(dir, seed, lock), lock, countings(ops)))
	}
	return errors.Join(errs...)
}

// runProcesses runs this program several times at once.
func runProcesses(dir, reference string, seed uint64, procs, ops int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, lock := range locks {
		if err := os.WriteFile(counterFile(dir, seed, lock), []byte("0\n"), 0o600); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, procs)
	for i := range procs {
		cmd := exec.CommandContext(ctx, self, "-dir", dir, "-reference", reference, "-seed", strconv.FormatUint(seed, 10),
			"-ops", strconv.Itoa(ops), "-process", strconv.Itoa(i))
		cmd.Stderr = os.Stderr
		go func() { ended <- cmd.Run() }()
	}
	var errs []error
	for range procs {
		errs = append(errs, <-ended)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("seed %d: %w", seed, err)
	}
	for _, lock := range locks {
		file := counterFile(dir, seed, lock)
		if n, err := countIn(file); err != nil || n != procs*countings(ops) {
			return fmt.Errorf("%d processes counted to %d under %s, not to %d (%w)", procs, n, lock, procs*countings(ops), err)
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

func runCount(args []string) error {
	flags := flag.NewFlagSet("count", flag.ContinueOnError)
	file := flags.String("file", "", "file with the number")
	lock := flags.String("lock", "flock", "kind of lock")
	times := flags.Int("times", 100, "how often")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return count(*file, *lock, *times)
}
