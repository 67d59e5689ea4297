// Command arcbox-bench measures ArcBox on this machine, each figure against a
// peer in the same run where there is one.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := choose(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "arcbox-bench:", err)
		os.Exit(1)
	}
}

// choose runs the benchmarks, or one of the small parts that the benchmarks
// run in a container.
func choose(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "inside" {
		return inside(ctx, args[1:])
	}
	flags := flag.NewFlagSet("arcbox-bench", flag.ContinueOnError)
	var o options
	flags.StringVar(&o.bin, "bin", "", "directory of arcbox and docker")
	flags.StringVar(&o.out, "out", "", "directory for the raw figures")
	flags.StringVar(&o.debian, "debian", "", "directory of the boot's peer (bench/debian.sh)")
	flags.IntVar(&o.rounds, "rounds", 5, "how often a boot is repeated")
	only := flags.String("only", "", "comma-separated parts: "+strings.Join(partNames(), ", ")+" (default all)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	return run(ctx, o)
}

type options struct {
	bin, out, debian string
	rounds           int
	only             []string
}

// part is one group of figures.
type part struct {
	name    string
	measure func(context.Context, *bench) error
}

func parts() []part {
	return []part{
		{"binaries", binaries}, {"boot", boots}, {"cold", cold}, {"idle", idle},
		{"requests", overhead}, {"bulk", bulk}, {"leaks", leaks},
	}
}

func partNames() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

func run(ctx context.Context, o options) error {
	for _, name := range o.only {
		if !slices.Contains(partNames(), name) {
			return fmt.Errorf("no part %q; parts are %s", name, strings.Join(partNames(), ", "))
		}
	}
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer b.remove()
	for _, p := range parts() {
		if len(o.only) > 0 && !slices.Contains(o.only, p.name) {
			continue
		}
		fmt.Printf("-- %s (load %s)\n", p.name, load())
		if err := p.measure(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		// After each part, so that what follows cannot lose it.
		if err := b.report.write(filepath.Clean(o.out)); err != nil {
			return err
		}
	}
	return nil
}
