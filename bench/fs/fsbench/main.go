//go:build linux

// Command fsbench measures what directories of the host cost inside a machine,
// against the machine's own disk and against other ways to share a directory,
// all in one run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fsbench:", err)
		os.Exit(1)
	}
}

// bench is what all parts of a run share.
type bench struct {
	bin, out, only             string
	rounds, mib, files, random int
	tree                       int
	memory                     int
	dir                        string // of shares, sockets and consoles, removed at the end
	arcbox                     *arcbox
	report                     *report
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("fsbench", flag.ContinueOnError)
	b := &bench{report: newReport()}
	flags.StringVar(&b.bin, "bin", "", "directory of arcbox and docker")
	flags.StringVar(&b.out, "out", "", "directory that prepare.sh filled; the results go there too")
	flags.IntVar(&b.rounds, "rounds", 3, "how often each figure is measured")
	flags.IntVar(&b.mib, "mib", 256, "size of the large file")
	flags.IntVar(&b.files, "files", 10_000, "small files")
	flags.IntVar(&b.random, "random", 2000, "random reads, and writes")
	flags.IntVar(&b.tree, "tree", 20_000, "files of the tree for git")
	flags.IntVar(&b.memory, "memory", 1536, "memory of each machine, MiB")
	flags.StringVar(&b.only, "only", "", "comma-separated parts: sequential, random, small, git, npm (default all)")
	chosen := flags.String("subjects", strings.Join(subjectNames(), ","), "comma-separated subjects")
	if err := flags.Parse(args); err != nil {
		return err
	}
	names := strings.Split(*chosen, ",")
	for _, name := range names {
		if !slices.Contains(subjectNames(), name) {
			return fmt.Errorf("no subject %q; there are %s", name, strings.Join(subjectNames(), ", "))
		}
	}
	if b.dir, err = os.MkdirTemp("", "fsbench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	defer func() {
		if b.arcbox != nil {
			b.arcbox.remove()
		}
	}()
	if err := b.prepareTrees(ctx); err != nil {
		return err
	}
	if b.arcbox, err = startArcBox(ctx, b); err != nil {
		return err
	}
	err = b.measureAll(ctx, names)
	b.report.goals()
	if err != nil {
		b.report.Failed = err.Error()
	}
	err = errors.Join(err, b.report.write(b.out))
	fmt.Print(b.report.markdown())
	return err
}

// measureAll takes all figures of all subjects, round by round, each round
// beginning with another subject.
func (b *bench) measureAll(ctx context.Context, names []string) error {
	subjects := slices.DeleteFunc(subjects(), func(s subject) bool { return !slices.Contains(names, s.name) })
	b.report.Subjects = nil
	for _, s := range subjects {
		b.report.Subjects = append(b.report.Subjects, s.name)
	}
	for round := range b.rounds {
		for i := range subjects {
			s := subjects[(i+round)%len(subjects)]
			if b.report.Absent[s.name] != "" {
				continue
			}
			progress("round %d of %d: %s", round+1, b.rounds, s.name)
			output, err := s.measure(ctx, b)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				b.report.Absent[s.name] = err.Error()
				progress("%s is absent: %v", s.name, err)
				continue
			}
			b.report.take(s.name, output)
		}
	}
	return nil
}

// progress says on standard error what is being done.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().UTC().Format("15:04:05 ")+format+"\n", args...)
}
